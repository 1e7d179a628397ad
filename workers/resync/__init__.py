"""Finds what is not as Slurm wants it, and asks for its repair."""
