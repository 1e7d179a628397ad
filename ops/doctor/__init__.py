"""`lamplighter doctor`: checks an installation from one of its hosts, and says what to change.

command: the command; which checks run where.
checks: runs each check in bounded time.
access: what a user may do with files and folders.
settings: settings that load, and cannot do what they are meant for.
named_files: files that settings name for workers of this host, and that only their work would miss.
host, disks: files and folders of this host: owners, modes, the spool; their file systems.
planned: owners and modes of what init puts in place.
roles: the logins and permissions of all roles at the broker.
units: the units of this host, where systemd runs.
slurm: slurm.conf as slurmctld has it. Pure.
prolog: whether lamplighter-prolog is in use, whether it pays, and how many jobs may wait in it.
parts: the broker, the stores and the logins.
clouds: rights, quota, templates, servers and clock of the clouds.
measured: timeouts against recorded boots and stops.
bundle: `lamplighter support-bundle`.
secrets, scrub: the secrets of an installation, and how they are masked.
"""
