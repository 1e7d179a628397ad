"""Sets up an installation on this host.

init: `lamplighter init`: asks, and puts the files in place.
slurm_conf: what slurm.conf says: the cloud nodes, the timeouts, SlurmUser.
answers, cloud_entry: what a site answers; what its clouds.yaml says.
site: what init knows of a site.
slurm_lines, slurm_rules: the lines for slurm.conf; what it must not say, for the doctor too.
toml, units: lamplighter.toml; systemd's units, users and folders.
plan: all files, links and commands of a host.
place: writes files that are missing, and shows how existing ones differ.
"""
