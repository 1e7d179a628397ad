"""Benchmarks: figures as ratios against a baseline of the same run.

A missed aim is shown. A wrong result ends the benchmark, and the page says that it failed.

- __main__: `make bench`: all benchmarks in turn, or one; writes docs/performance.md
- hooks: the duration of a hook process, against the least that pika needs
- latency: from the hook's call to the start call, idle and behind 10,000 suspends
- peers: a fleet beside peer_client, with errors and kills
- fleet: resume and suspend of 1 to 10,000 nodes on a simulated cloud, against bare_client
- backlog: 100,000 requests that wait for a power worker
- boots: what a boot takes beyond the cloud's own time
- prolog, prolog_waiting: jobs that wait in lamplighter-prolog
- idle: memory and CPU of `lamplighter up` while nothing happens
- workers: resume and suspend of 5,000 nodes by 1, 2 and 4 power workers on one PostgreSQL store
- memory: the power worker's engine over a day of a million requests
- nova: resume and suspend of 200 nodes on a real Nova, against bare_client
- broker_cluster: 300 requests on three RabbitMQ nodes, through kills, hangs, cuts and restarts
- letters: list and replay 10,000 dead letters
- audit: queries on a million records, on SQLite and PostgreSQL
- report: the usage report of 100,000 outcomes
- console: a page of 2,000 nodes in Chromium
- bare_client: the baseline of fleet and nova: the OpenStack SDK only
- peer_client: the baselines of peers: the power programs that one would write with the SDK
- system: a broker, the workers and a cloud, for fleet, workers and nova
- timing: durations and temporary folders
- table: the figures as a table
- results: what a benchmark found, kept as JSON in the folder results
- machine: the machine and the versions of its programs
- svg, page: docs/performance.md and its charts, from the results
"""
