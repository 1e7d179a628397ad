"""The workers on slurmctld's host: they report failed boots to Slurm, and Slurm's state to the broker.

Two processes run here as SlurmUser, without credentials of any cloud.

The slurm worker (feedback to Slurm):
main: the process.
feedback: the loop: batches of events, repeated until slurmctld and the store are available.
node_updates: handles events and due nodes: read, decide, apply, remember.
decide: what to report to Slurm after an event.
due: what to do with a node whose time has come: give it back, or return it to service.
after_update: what to remember of a node after an update.
updates: the kinds of updates.
causes: what the cause of a failed boot means for its node, and its text in Slurm.
apply: sends updates to slurmctld.
node_memory: the stored state of each node: failures in a row, and what is due when.
failed_jobs, requeued: the jobs that waited for failed boots.
job_events, job_origins: events about jobs; the UWS job to which a Slurm job belongs.
metrics: the metrics of this worker.
prolog, prolog_fifos, prolog_release, prolog_slots: let jobs that wait in lamplighter-prolog go on
    when their nodes are ready: the thread, the FIFOs to the scripts, the decision, how many may wait.

The snapshot worker:
snapshot_worker: the process; publishes snapshots.
run_reporter, runs: report registrations, and the start and end of job runs.
uws_jobs: how the jobs of a UWS service wait and end.

Both:
scontrol: the queries and updates of slurmctld.
scontrol_session: one scontrol that answers many queries.
commands: runs Slurm's commands.
nodes: reads the nodes and jobs that they print.
power_saving: reads Slurm's settings of power saving.
"""
