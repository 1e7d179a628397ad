"""The audit: every event, once, in an append-only log chained by hashes."""
