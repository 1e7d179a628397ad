"""Configuration: lamplighter.toml and the files it names, checked and typed.

settings: the whole of lamplighter.toml, and how to load it.
tables: the tables of the workers, the console, metrics and logs.
groups: the tables [clouds.NAME] and [groups.NAME].
logins: the tables [clouds.NAME.source].
webhooks: the tables [[notify.webhook]].
listen: reads the addresses on which processes listen.
types: the base class of all tables.
clouds: completes [clouds.NAME] from the files of other tools and from environment variables.
fedcloud: EGI's site files and fedcloud's environment variables.
clouds_yaml: an entry of OpenStack's clouds.yaml, resolved by openstacksdk.
clouds_entry: the content of such an entry, and its checks.
yaml_file: reads a YAML file into a checked shape.
problems: what is wrong in lamplighter.toml, and what is allowed there.
slurm_location: finds Slurm's commands and slurm.conf.
"""
