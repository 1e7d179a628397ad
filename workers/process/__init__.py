"""A worker process around its work.

runtime: store, signals and heartbeat.
stop: the wish that a process ends.
supervisor: keeps several processes running, for `lamplighter up`.
supervisor_metrics: the metrics of `up` and of the relay.
systemd: what systemd hears of a worker: that it has started, and that it lives.
logs: structured logs.
metrics_endpoint: the HTTP server for Prometheus.
files: files that are written whole or not at all.
programs: other programs, run for what they print.
foreign: answers of foreign services over HTTP, bounded and checked.
authorities: which certificate authorities requests trust.
recent_secrets: the last secrets of a service, which no words of it repeat.
redirects: where a redirect may lead a request with a secret.
echoes: what a text repeats of a secret.
doubling: a wait that doubles from failure to failure.
retry_after: the HTTP header Retry-After.
"""
