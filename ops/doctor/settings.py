"""Checks settings that load, and cannot do what they are meant for."""

import socket
from collections.abc import Iterator

from ops.doctor.named_files import closed_to_worker, of_named_files, runs_here
from ops.doctor.parts import CLOCKS
from ops.site.findings import Finding, wrong
from ops.site.kinds import Kind
from schemas.roles import Role
from workers.clouds.client import user_data_of
from workers.clouds.errors import BadTemplateError
from workers.clouds.nova_requests import Call, filled_in
from workers.clouds.servers import is_id
from workers.config.settings import Settings
from workers.process.metrics_endpoint import ROLES

# RabbitMQ looks once a minute, and closes after half an hour by default.
_LONGEST_HOLD = 1740.0


def of_settings(settings: Settings) -> Iterator[Finding]:
    """All findings about such settings."""
    yield from _snapshots(settings)
    yield from _clock(settings)
    yield from _hostnames(settings)
    yield from _held(settings)
    yield from _addresses(settings)
    yield from _ports(settings)
    yield from _opus(settings)
    yield from _networks(settings)
    yield from of_named_files(settings)
    if runs_here(settings, Role.POWER):
        yield from _user_data(settings)


def _snapshots(settings: Settings) -> Iterator[Finding]:
    interval, slurm = settings.slurm.snapshot_interval, settings.slurm
    if settings.stale_after < interval:
        words = (
            f"resync.stale_after ({settings.stale_after:g} s) is below slurm.snapshot_interval ({interval:g} s): "
            "each snapshot is too old before the next one"
        )
        remedy = f"remove stale_after, or write at least {2 * interval:g}"
        yield wrong(Kind.SNAPSHOT_STALE, words, remedy)
    if slurm.return_after > slurm.return_at_most:
        words = (
            f"slurm.return_after ({slurm.return_after:g} s) is above slurm.return_at_most "
            f"({slurm.return_at_most:g} s), which counts"
        )
        yield wrong(Kind.USELESS, words, "correct one of them in [slurm]")


def _clock(settings: Settings) -> Iterator[Finding]:
    ahead = settings.power.clock_ahead
    if ahead < CLOCKS:
        words = (
            f"power.clock_ahead is {ahead:g} s: requests of a host whose clock is only that far ahead wait, or "
            "become dead letters"
        )
        yield wrong(Kind.CLOCK, words, f"remove clock_ahead, or write at least {CLOCKS:g}")


def _hostnames(settings: Settings) -> Iterator[Finding]:
    if settings.slurm.set_addresses:
        return
    for name, group in settings.groups.items():
        if group.hostname is not None:
            words = f"groups.{name}.hostname: without slurm.set_addresses, Slurm does not get it"
            yield wrong(Kind.USELESS, words, "set_addresses = true in [slurm], or remove hostname")


def _opus(settings: Settings) -> Iterator[Finding]:
    """On the host where Slurm's jobs are seen, a webhook that gets no events of jobs."""
    if settings.slurm.uws_jobdata is not None or not runs_here(settings, Role.SNAPSHOT):
        return
    for webhook in settings.webhooks:
        if webhook.format == "opus":
            words = f"notify.webhook {webhook.name}: OPUS gets no events of jobs: slurm.uws_jobdata is not set"
            yield wrong(Kind.USELESS, words, "uws_jobdata in [slurm], as OPUS's SLURM_JOBDATA_PATH")


def _addresses(settings: Settings) -> Iterator[Finding]:
    """Addresses to listen at that this host does not have."""
    metrics, console = settings.metrics, settings.console
    listen = {}
    if metrics.listen is not None:
        listen["metrics.listen"] = metrics.address(metrics.listen), "nobody can read metrics there"
    if runs_here(settings, Role.CONSOLE):
        listen["console.listen"] = console.address(), "the console cannot start"
    for key, ((host, _), effect) in listen.items():
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.socket(family) as tried:
                tried.bind((host, 0))
        except OSError as error:
            words = f"{key}: {host}: {error.strerror}: {effect}"
            yield wrong(
                Kind.USELESS, words, "write an address of this host, such as 127.0.0.1:PORT"
            )


def _ports(settings: Settings) -> Iterator[Finding]:
    """A port of the console that is also one of the workers' for their metrics."""
    if settings.metrics.listen is None:
        return
    _, first = settings.metrics.address(settings.metrics.listen)
    _, port = settings.console.address()
    if 0 < first <= port < first + len(ROLES):
        words = (
            f"metrics.listen: the workers' metrics use the ports from {first} on, and console.listen uses "
            f"{port}, too: the one that starts later cannot listen there"
        )
        yield wrong(Kind.USELESS, words, "write another port, such as 9464, in [metrics]")


def _held(settings: Settings) -> Iterator[Finding]:
    hold = settings.power.hold
    if hold > _LONGEST_HOLD:
        words = (
            f"power.hold is {hold:g} s: RabbitMQ closes the channel of a consumer that keeps a delivery for "
            "30 min (its consumer_timeout), and delivers all requests of this worker again"
        )
        remedy = f"remove hold, or write at most {_LONGEST_HOLD:g}"
        yield wrong(Kind.USELESS, words, remedy)


def _networks(settings: Settings) -> Iterator[Finding]:
    """Groups whose addresses are wanted on a network that their new servers are not on.

    A name and an id may be of one network.
    """
    for name, group in settings.groups.items():
        if group.server is None or group.network is None or not settings.slurm.set_addresses:
            continue
        there = group.server.networks
        if "auto" in there or any(map(is_id, (group.network, *there))) or group.network in there:
            continue
        words = (
            f"groups.{name}.network is {group.network}, and new servers are on {', '.join(there)}: "
            "slurm.set_addresses has no address to set"
        )
        remedy = f"correct network in [groups.{name}], or networks in [groups.{name}.server]"
        yield wrong(Kind.USELESS, words, remedy)


def _user_data(settings: Settings) -> Iterator[Finding]:
    """User data that the power worker cannot read or fill in."""
    for name, group in settings.groups.items():
        if group.server is None or group.server.user_data_file is None:
            continue
        path = group.server.user_data_file
        node = max((node for node, of in settings.nodes.items() if of == name), key=len)
        try:
            call = Call("create", "", node, name)
            filled_in(user_data_of(call, group.server) or b"", call, settings.cluster)
        except BadTemplateError as error:
            yield wrong(Kind.TEMPLATE, str(error), f"correct {path}, or the setting")
            continue
        key = f"groups.{name}.server.user_data_file"
        yield from closed_to_worker(settings, Kind.TEMPLATE, key, path)
