"""A request's history, read once from its audit records; command line and console print from it.

request: the history itself: outcome, attempts, stages, waits. Pure.
timeline: its steps: events, cloud actions, and what Slurm reported afterwards. Pure.
job: the requests that a job waited for, and the events about it, from the audit.
job_start: when the node registered and its first job started, from the audit.
job_wait: how long a job waited in all.
similarity: when two error messages have the same cause. Pure.
"""
