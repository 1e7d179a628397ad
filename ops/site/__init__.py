"""Commands for the installation as a whole.

up: `lamplighter up`, all workers of a small installation.
worker: `lamplighter worker` and `lamplighter relay`, one worker in the foreground.
status: `lamplighter status`, workers, queues and nodes at a glance.
config: `lamplighter config`, the file that counts and the meaning of each setting.
findings: what is wrong, each with its remedy, and the line that sums it up.
kinds: the kinds of findings, each with why it matters.
spooled: what waits in the spools of this host.
snapshot: `lamplighter snapshot`, a snapshot of Slurm's node states now.
drift: `lamplighter drift`, differences from what Slurm wants, and their repair.
topology: `lamplighter topology`, the broker's exchanges and queues.
topology_check: compares the broker with the topology, and its users with the roles.
broker_users: `lamplighter broker users`, the roles' users, passwords and permissions.
database_roles: `lamplighter database roles`, a PostgreSQL user for each role, and its tables.
management: RabbitMQ's management API.
held: what RabbitMQ says that it has, in the shapes of that API.
clock: `lamplighter clock`, the clock that orders requests, and its reset.
clock_state: what is known of the clock, and what stands in the way of a reset.
tokens: `lamplighter tokens status` and `test`, the logins to the clouds.
tokens_login: `lamplighter tokens login`, a new login or secret.
tokens_revoke: `lamplighter tokens revoke`, the end of a login.
"""
