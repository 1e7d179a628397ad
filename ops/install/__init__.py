"""Sets up an installation on this host.

init: `lamplighter init`: asks, and puts the files in place.
slurm_conf: what slurm.conf says: the cloud nodes, the timeouts, SlurmUser.
answers: what a site answers, with what was found on the host.
site: what init knows of a site.
slurm_lines, slurm_rules: the lines for slurm.conf; what it must not say, for the doctor too.
toml, units: lamplighter.toml; systemd's units, users and folders.
place: writes files that are missing, and shows how existing ones differ.
"""
