"""The workers, which act on messages, and what they share.

config: lamplighter.toml, typed.
broker: connections to RabbitMQ, its topology and its messages.
store: the state and audit databases.
process: logs, metrics endpoint and lifetime of a worker process.
clouds: OpenStack.
tokens: the token service.
slurm: feedback to Slurm, and snapshots of its node states.
resync: compares Slurm, store and clouds.
power: powers nodes on and off.
notify: webhooks.
audit: the audit log.
errors: the error classes.
"""
