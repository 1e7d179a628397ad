"""The state store and the audit log in SQLite (WAL mode) or PostgreSQL.

tables: all tables.
migrations/: the Alembic migrations; state and audit have one history each.
database: opens a store; the clock that all workers share.
columns: the columns of tables and migrations.
upsert, chunks: helpers for statements.
requests: the rounds of requests, and the one outcome of each.
group_images: the image that a group's servers are created from.
generations: finds and lowers those that lie in the future, for `lamplighter clock`.
snapshots: the newest snapshot of Slurm, and the clouds' listings for it.
holds, leases: nodes that are under maintenance; nodes on which a power worker acts.
heartbeats: the last heartbeat of each worker.
overview, power_state: the power state of all nodes, for the console and the metrics.
"""
