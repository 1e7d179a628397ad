"""Commands for dead letters: requests, and events for webhooks, that failed permanently.

command: `dead-letters list`, `show` and `export`.
resolve: `dead-letters replay` and `discard`.
filters: the filter options of these commands.
select: filters dead letters, and formats one as a table row or a JSON object.
groups: similar dead letters as one line.
context: reads what the stores, Slurm and the cloud know about a dead letter.
describe: explains a dead letter as labels and values.
"""
