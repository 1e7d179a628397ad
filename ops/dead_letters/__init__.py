"""Dead letters: requests, and events for webhooks, that failed permanently; and their commands.

command: `dead-letters list`, `show` and `export`.
resolve: `dead-letters replay` and `discard`.
filters: the filter options of these commands.
select: filters dead letters, and formats one as a table row or a JSON object.
groups: similar dead letters as one line.
context: reads what the stores, Slurm and the cloud know about a dead letter.
describe: explains a dead letter as labels and values.
letter: reads a dead letter and its headers.
reading: takes all messages of a queue, or says why it cannot.
queue: replays and discards dead letters, safe against a kill at any step.
messages: the events, commands and notices that a replay or a discard publishes.
results: which letters are still undecided, and the result for each.
"""
