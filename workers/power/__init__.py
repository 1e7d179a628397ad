"""The power worker: the engine that turns requests into calls to clouds, and nothing else.

main: `lamplighter worker power`.
engine: the loop: events, learn, receive, step, commit, act.
events: what the engine's inbox holds.
intake: from a delivery to a pending request.
admit: what becomes of a request that has just arrived. Pure.
suspend_guard: whether Slurm's request to power a node off may be acted upon. Pure.
reception: takes requests in, with one transaction.
node: a pending node, its phases, and how an event changes it. Pure.
node_view, decide: what the decision table is given, and the table. Pure.
next_step: the next step of a node: the table, and the policy around it. Pure.
steps: what may be done next, as values.
learn: what the answer to a call changes. Pure.
calls: the guard of a call; what errors mean.
carry_out: takes steps: queues, finishes, retries, parks.
dispatch: sends calls and listings to the clouds in their turn.
cloud_events: takes in what clouds answer.
group_rest: groups whose cloud had no room.
state, agenda, batch: what a turn works on, which nodes are due, what the next commit writes.
node_row, desired_state, observations, lease_owner: nodes' rows and leases in the store.
power_store: the engine's transactions.
outcomes: how each request ends. Pure.
messages: what the worker publishes. Pure.
publisher: answers requests.
outbox: what must be confirmed before a delivery is acknowledged.
slurm_view: what Slurm's snapshots say.
snapshot_listings: lists each cloud for each snapshot.
metrics: for Prometheus.
"""
