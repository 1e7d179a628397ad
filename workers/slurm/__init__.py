"""Feedback to Slurm: what became of a boot, said to slurmctld by scontrol, on its own host."""
