"""The audit worker: records every event once, in an append-only log chained by hashes.

record: from a message to the record that the log keeps; the hash of a record.
rounds: whether a request's event can follow from what is recorded of the request. Pure.
log: appends records to the chain, in one transaction a batch.
consumer: the worker's loop: reads the broker's queue, appends, acknowledges, counts.
queries: filters, and reading records back.
chain: follows the chain and finds records that were changed. Pure.
verify: reads the log for verification, and compares it with signed heads.
signing: Ed25519 keys and signatures.
heads: signed statements of what the last record was.
head_publisher: signs a head at intervals, and writes it to store, file and log.
forgetting: forgets ended rounds in the state store, once the log holds their outcomes.
segments: seals a segment of the log, and drops sealed segments.
installation_metrics: gauges of the whole installation, read for each scrape.
"""
