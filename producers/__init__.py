"""The senders of commands: Slurm's hooks, and the relay that sends what the hooks could not.

The hooks import the standard library, pika, a hostlist library and `schemas`, nothing else.

resume, suspend, resume_fail: the programs in slurm.conf.
prolog: the shell program lamplighter-prolog, in which jobs wait for their nodes.
hook: what all three do: make the call durable, publish it, exit.
call: a hook call, and the commands that follow from it.
notices: notices of what an operator did, spooled as calls are.
hosts: hostlist expressions.
clock: the generation clock that all hook calls of a cluster share.
spool: calls on disk until the broker has confirmed them.
outbox: from a spooled call to published messages.
message: messages and batches, independent of an AMQP library.
amqp: connection parameters and message properties.
publish: publishes batches over one connection.
relay: publishes the calls left in the spool.
snapshot: Slurm's node states, as messages.
broker_settings: how to reach RabbitMQ, and with which user.
addresses: which addresses may be used: encrypted, and without a password.
reasons: why a connection failed, with the remedy.
config_file: where lamplighter.toml is; whether hooks and commands read the same.
settings: the part of lamplighter.toml that hooks read.
toml_table: one table of it; its mistakes.
trust: which files a process trusts.
privacy: keeps files and memory from other users.
report: syslog, log file and standard error.
disk: durable folders and file names.
batched: cuts a sequence into batches.
"""
