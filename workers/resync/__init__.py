"""The resync worker: finds differences from what Slurm wants (drifts), and requests their repair.

main: the process.
worker: the loop: one snapshot after the other.
snapshot_intake: joins the parts of a snapshot, and stores it.
survey: compares a snapshot with the clouds' listings and the stored requests.
drift: the kinds of drift, and what is known of a node.
decide: what to do about a drift.
plan: from a survey to repair requests, and to what is remembered.
drift_memory: the stored drifts: since when, and how many repairs were requested.
notices: what operators are notified of.
slurm_conf: differences between slurm.conf and lamplighter.toml.
"""
