"""The messages: their fields, their identities and their strict parsing. Standard library only.

The Slurm hooks import this package, and every import costs them time.

commands: a request to change a node's power, from a hook or an operator.
addresses: IP addresses from outside.
envelope: the CloudEvents envelope around every message.
errors: the error for a message that cannot be read.
events: what happened to a request.
fields: JSON from outside, in bounded depth; its fields, read strictly and written; checks of names; quoting of text.
headers: the AMQP headers of commands and dead letters.
ids: message ids, derived from what the message says.
jobs: what happened to a Slurm job on our nodes.
notices: alarms, rejected messages and operators' actions: what is not a request's event.
numbers: whole numbers in texts from outside.
registrations: a node registered with slurmctld.
roles: the parts of an installation that have a broker user of their own.
server: a cloud's server as a listing shows it.
snapshot: the states of all Slurm nodes at one moment.
asyncapi.yaml, json: the same messages, described for other programs.
"""
