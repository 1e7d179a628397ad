"""The commands of `lamplighter audit`, and the histories of requests and jobs, read from its records.

Commands:
filters: the options that select records.
records: a record as a line, a table row or JSON. Pure.
listing: list, tail, show.
questions: why, failures, slowest.
export: export.
chain: verify, heads.
segments: seal, prune.

Histories, read once for commands, console and dead letters:
request_history: of a request: outcome, attempts, stages, waits. Pure.
timeline: its steps: events, cloud actions, and what Slurm reported afterwards. Pure.
job_history: of a job: the requests that it waited for, and the events about it.
job_start: when the node registered and its first job started.
job_wait: how long a job waited in all.
similarity: when two error messages have the same cause. Pure.
"""
