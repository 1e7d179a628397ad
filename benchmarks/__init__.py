"""Benchmarks: figures as ratios against a baseline of the same run. They assert nothing.

- __main__: `make bench`: all benchmarks in turn
- hooks: the duration of a hook process, against the least that pika needs
- fleet: resume of 100 and 1,000 nodes on a simulated cloud, against bare_client
- workers: resume and suspend of 5,000 nodes by 1, 2 and 4 power workers on one PostgreSQL store
- memory: the power worker's engine over a day of a million requests
- nova: resume and suspend of 200 nodes on a real Nova, against bare_client
- broker_cluster: 300 requests on three RabbitMQ nodes, through kills, hangs, cuts and restarts
- letters: list and replay 10,000 dead letters
- audit: queries on a million records, on SQLite and PostgreSQL
- report: the usage report of 100,000 outcomes
- console: a page of 2,000 nodes in Chromium
- bare_client: the baseline of fleet and nova: the OpenStack SDK only
- system: a broker, the workers and a cloud, for fleet, workers and nova
- timing: durations and temporary folders
- table: the figures as a table
"""
