"""The test bed: private servers, a simulated and a real OpenStack, and helpers for tests.

Servers
    broker, rabbitmq_node, management: RabbitMQ brokers, and the management API.
    broker_choice: which broker a test run uses.
    slurm, slurm_conf, slurmnode, loopback: a private Slurm, its configuration and its virtual nodes.
    postgresql: a private PostgreSQL.
    simcloud: a simulated OpenStack with a login provider.
    openstack: a real Keystone, Placement, Nova and Glance whose hypervisor is simulated.
    docker: a Docker engine, images, and compose.yaml.
    receiver, opus: HTTP servers that record requests, and a simulated OPUS (its answers were recorded).
    browser: headless Chromium, and accessibility checks.
Lamplighter on these servers
    installation: a configuration on a fresh vhost, and the command line.
    token_site, console_site: an installation for the token service, and one for the console.
    powerbench: one power engine, driven by a test.
    whole_system: hooks and workers on a simulated cloud, without Slurm.
    cluster: a whole elastic cluster: Slurm, RabbitMQ, a cloud and Lamplighter.
    controller: starts hooks as slurmctld does.
Helpers
    messages, opus_jobs, deliveries, strategies: messages, deliveries, and Hypothesis strategies.
    requests: requests, and the cloud calls that they cause.
    auditlog, checker, leaks: audit records; whether a run kept all promises; secrets in files.
    consumers, scrape: whether workers consume; metrics as Prometheus reads them.
    processes, ports, waiting: child processes, reserved ports, and waiting with a deadline.
    sharing, failures: how pytest-xdist distributes tests; reports of failed tests.
    install, clean, folders: system packages, `make clean`, and the cache folder.
"""
