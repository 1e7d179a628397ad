"""The state store and the audit log in SQLite (WAL mode) or PostgreSQL.

tables: all tables.
migrations/: the Alembic migrations; state and audit have one history each.
database: opens a store; the clock that all workers share; what differs between the databases.
refusals: what a database says when it cannot be used, with the remedies.
postgresql: connects to PostgreSQL; passfile: reads its password files.
columns: the columns of tables and migrations.
access: what each role may do in PostgreSQL.
power_store: the power worker's transactions, each one commit for many nodes.
nodes, desired_state: the nodes' rows and leases; the statements that raise a desired state.
lease_owner: who owns a lease, and whether it still lives.
slurm_view: the snapshots as a power worker uses them.
requests: the rounds of requests, and the one outcome of each.
group_images: the image that a group's servers are created from.
generations: finds and lowers those that lie in the future, for `lamplighter clock`.
snapshots: the newest snapshot of Slurm, and the clouds' listings for it.
holds, leases: nodes that are under maintenance; nodes on which a power worker acts.
heartbeats: the last heartbeat of each worker.
overview, power_state: the power state of all nodes, for the console and the metrics.
"""
