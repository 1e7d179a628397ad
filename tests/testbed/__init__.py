"""The test bed: private servers, a simulated and a real OpenStack, and helpers for tests.

Servers
    broker, rabbitmq_node, management: RabbitMQ brokers, and the management API.
    broker_cluster, cluster_faults: three RabbitMQ nodes, and their faults under load.
    broker_choice, broker_address, broker_roles: which broker a test run uses, its address, its users.
    slurm, slurm_conf, slurmnode, loopback: a private Slurm, its configuration and its virtual nodes.
    postgresql, stores, statements: a private PostgreSQL; which database a test's stores are in; what they are asked.
    simcloud: a simulated OpenStack with a login provider.
    openstack: a real Keystone, Placement, Nova and Glance whose hypervisor is simulated.
    docker: a Docker engine, images, and compose.yaml.
    receiver, opus: HTTP servers that record requests, and a simulated OPUS (its answers were recorded).
    browser, axe: headless Chromium, and accessibility checks.
    web_server, tls, certificates, cut: an HTTP server, TLS servers and their certificates, a proxy to cut.
Lamplighter on these servers
    installation: a configuration on a fresh vhost, and the command line.
    token_site, console_site: an installation for the token service, and one for the console.
    powerbench, instant, longday: one power engine: driven by a test, without waits, for a day.
    whole_system: hooks and workers on a simulated cloud, without Slurm.
    cluster: a whole elastic cluster: Slurm, RabbitMQ, a cloud and Lamplighter.
    scripted_slurm: a script as slurmctld of a whole system.
    page_commands: the commands of a page, run on a whole system.
    controller, prolog_scripts: start hooks, and lamplighter-prolog, as slurmctld does.
Helpers
    messages, opus_jobs, deliveries, strategies: messages, deliveries, and Hypothesis strategies.
    requests, pending_nodes: requests, and the cloud calls that they cause; nodes with requests.
    outcomes: outcomes as a report reads them.
    slurm_api: what only Slurm's own library can do to a job.
    auditlog, checker, leaks: audit records; whether a run kept all promises; secrets in files.
    declared, consumers: a topology that is declared in time; whether workers consume.
    scrape: metrics as Prometheus reads them.
    commands: commands of `lamplighter`, in forks of one process that has imported them.
    processes, ports, waiting: child processes, reserved ports, and waiting with a deadline.
    sharing, failures: how pytest-xdist distributes tests; reports of failed tests.
    terminal, stepped_clock, small_disk: a terminal, a clock that steps, a disk that fills.
    fuzz, sbom: `make fuzz`, and the check of `make sbom`.
    install, clean, folders: system packages, `make clean`, and the cache folder.
"""
