"""The rules of the checker, by what they judge. Pure; they know nothing of the product's code.

violation: what is reported.
times: when things happened, though clocks were stepped; slurmctld's kills and starts.
requests: calls of hooks, rounds, outcomes and dead letters in the audit.
power: the cloud's ledger against outcomes, and against what Slurm asked for.
jobs: tasks that fell silent, and batch jobs that never ended.
end: the state at the end, and whether there is enough to judge by.
"""
