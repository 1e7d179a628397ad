"""The power worker: the engine that turns requests into calls to clouds, and nothing else.

main: `lamplighter worker power`.
engine: the loop: events, learn, receive, step, commit, act.
events: what the engine's inbox holds.
intake: from a delivery to a pending request.
admit: what becomes of a request that has just arrived, given what Slurm says. Pure.
reception: takes requests in, with one transaction.
backlog: which nodes wait until a backlog has been read.
node: a pending node, its phases, and how an event changes it. Pure.
next_step: what an answer changes, and the next step of a node: the policy around the table. Pure.
steps: what may be done next, as values.
calls: the guard of a call, asked immediately before each try.
carry_out: takes steps: queues, calls, finishes, retries, parks; lists the clouds.
cloud_events: takes in what clouds answer.
state: what a turn works on; which nodes and which listings are due.
messages: what the worker publishes, and how each request ends. Pure.
publisher: answers requests, through workers.broker.outgoing.
metrics: for Prometheus.

The decision table is workers.clouds.decide, which knows Nova; the rows of nodes and requests are read and
written by workers.store.power_store alone.
"""
