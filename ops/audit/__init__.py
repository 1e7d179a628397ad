"""The commands of `lamplighter audit`.

filters: the options that select records.
records: a record as a line, a table row or JSON. Pure.
listing: list, tail, show.
questions: why, failures, slowest.
export: export.
chain: verify, heads.
segments: seal, prune.
"""
