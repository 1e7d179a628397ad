"""Dead letters: requests that failed for good, until an operator replays or discards them.

letter: reads a dead letter and its headers.
reading: takes all messages of a queue, or says why it cannot.
queue: replays and discards dead letters, safe against a kill at any step.
messages: the events, commands and notices that a replay or a discard publishes.
results: which letters are still undecided, and the result for each.
"""
