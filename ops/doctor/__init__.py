"""`lamplighter doctor`: checks an installation from one of its hosts, and says what to change.

command: the command; which checks run where.
host: files and folders of this host: owners, modes, space; the spool.
slurm: slurm.conf as slurmctld has it. Pure.
prolog: whether lamplighter-prolog is in use, whether it pays, and how many jobs may wait in it.
parts: the broker, the stores, the logins and the clouds.
"""
