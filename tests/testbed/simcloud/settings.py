"""The settings of a simulation, at its start or while it runs."""

import random
from typing import Annotated

import msgspec

NETWORK_ID = "0a8b0c1d-2e3f-4a5b-8c6d-7e8f9a0b1c2d"
"""The id of the one network that there is at first."""
SECURITY_GROUP_IDS = (
    "85cc3048-abc3-43cc-89b3-377341426ac5",
    "1b2c3d4e-5f60-4718-8293-a4b5c6d7e8f9",
)
"""The ids of the security groups that there are at first."""

Seconds = Annotated[float, msgspec.Meta(ge=0)]
# check_span checks the bounds, because msgspec 0.22 crashes on a constrained float or tuple.
Span = float | tuple[float, float]
"""A duration in seconds: fixed, or drawn evenly between two bounds."""


def draw(span: Span, rng: random.Random) -> float:
    """Return a random duration within ``span``, in seconds."""
    return rng.uniform(*span) if isinstance(span, tuple) else span


def check_span(field: str, span: Span | None) -> None:
    """Check that a duration is not negative and that bounds are in order.

    Raises:
        ValueError: they are not; the message names the field.
    """
    if span is None:
        return
    low, high = span if isinstance(span, tuple) else (span, span)
    if not 0 <= low <= high:
        raise ValueError(f"{field}: {span} is not a duration; give seconds >= 0, or [least, most]")


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All durations are seconds; ``None`` means no limit.

    ``hide_changes``: listings of changes show none, as when clocks of Nova's hosts differ too much.
    ``networks``, ``security_groups``: Neutron's, names by id; the groups are the first project's.
    ``key_pairs``: names; ``zones``: whether each is available; ``server_groups``: names by id.
    ``echoes``: each answer repeats the request's secrets, as the effect ``Echoes``; a cloud's list, in
    headers and reason alone.
    ``ignore_metadata``: metadata that is posted is answered with 200 and not kept.
    """

    latency_seconds: Span = 0.0
    boot_seconds: Span = 1.0
    stop_seconds: Span = 0.5
    shelve_seconds: Span = 0.5
    image_seconds: Span = 0.5
    clock_skew_seconds: float = 0.0
    token_seconds: Seconds = 3600.0
    access_token_seconds: Seconds = 3600.0
    refresh_token_seconds: Seconds = 400 * 86400.0
    device_flow: bool = True
    device_code_seconds: Seconds = 600.0
    device_interval_seconds: Seconds = 5.0
    rotate_refresh_tokens: bool = True
    rate_limit_per_second: Annotated[float, msgspec.Meta(gt=0)] | None = None
    rate_limit_burst: Annotated[int, msgspec.Meta(ge=1)] = 1
    instance_quota: Annotated[int, msgspec.Meta(ge=0)] | None = None
    page_limit: Annotated[int, msgspec.Meta(ge=1)] = 1000
    networks: dict[str, str] = msgspec.field(default_factory=lambda: {NETWORK_ID: "private"})
    security_groups: dict[str, str] = msgspec.field(
        default_factory=lambda: dict(zip(SECURITY_GROUP_IDS, ("default", "cluster"), strict=True))
    )
    key_pairs: list[str] = []
    zones: dict[str, bool] = msgspec.field(default_factory=lambda: {"nova": True})
    server_groups: dict[str, str] = {}
    hide_changes: bool = False
    ignore_metadata: bool = False
    echoes: bool = False

    def __post_init__(self) -> None:
        check_span("latency_seconds", self.latency_seconds)
        check_span("boot_seconds", self.boot_seconds)
        check_span("stop_seconds", self.stop_seconds)
        check_span("shelve_seconds", self.shelve_seconds)
        check_span("image_seconds", self.image_seconds)

    def changed(self, changes: object) -> "Settings":
        """Return these settings with ``changes`` (a mapping by field name) applied.

        Raises:
            msgspec.ValidationError: a field is unknown or its value is out of range.
        """
        fields = msgspec.convert(changes, dict[str, object])
        return msgspec.convert(msgspec.to_builtins(self) | fields, Settings)


class CurrentSettings:
    """Holds the current settings, so that all parts see a change at once."""

    def __init__(self, settings: Settings) -> None:
        self.now = settings


class ServerSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server to add. ``boot_seconds`` and ``stop_seconds`` override the settings.

    ``networks`` are its fixed addresses by network; by default ``address`` on one network.
    """

    name: str
    status: str = "SHUTOFF"
    project_id: str | None = None
    address: str | None = None
    metadata: dict[str, str] = {}
    tags: list[str] = []
    networks: dict[str, list[str]] = {}
    locked: bool = False
    boot_seconds: Span | None = None
    stop_seconds: Span | None = None

    def __post_init__(self) -> None:
        check_span("boot_seconds", self.boot_seconds)
        check_span("stop_seconds", self.stop_seconds)


class HookSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A command to run when a server's power changes.

    ``{name}``, ``{id}``, ``{address}`` and ``{event}`` (``power_on`` or ``power_off``) are replaced
    in each argument. The command's whole environment is ``environment``.
    """

    arguments: Annotated[list[str], msgspec.Meta(min_length=1)]
    log_file: str
    environment: dict[str, str] = {}
    timeout_seconds: Seconds = 60.0


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of the ``--config`` file."""

    seed: int = 0
    settings: Settings = Settings()
    servers: list[ServerSpec] = []
    hook: HookSpec | None = None
