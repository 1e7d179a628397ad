"""The messages of the control API, for server and client. Times are seconds since the epoch."""

import msgspec

from tests.testbed.simcloud.faults import Fault
from tests.testbed.simcloud.gate import ActionCall, Outage
from tests.testbed.simcloud.ledger import Interval
from tests.testbed.simcloud.settings import Settings, Span, check_span


class ServerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A server, independent of projects."""

    id: str
    name: str
    project_id: str
    status: str
    task_state: str | None
    powered: bool
    locked: bool
    address: str
    image_id: str | None
    metadata: dict[str, str]
    tags: list[str]


class ImageInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An image."""

    id: str
    name: str
    status: str
    properties: dict[str, str]


class ServerNames(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The servers whose names match the glob ``names``."""

    names: str


class ServerChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes to all servers whose names match the glob ``names``; ``None`` means no change.

    ``status`` is set at once, even during a task; ``fault`` is the message of an ERROR.
    """

    names: str
    status: str | None = None
    fault: str | None = None
    locked: bool | None = None
    boot_seconds: Span | None = None
    stop_seconds: Span | None = None

    def __post_init__(self) -> None:
        check_span("boot_seconds", self.boot_seconds)
        check_span("stop_seconds", self.stop_seconds)


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Calls by kind, answers by kind and status (0: connection reset), and all action calls."""

    calls: dict[str, int]
    answers: dict[str, dict[int, int]]
    action_calls: list[ActionCall]


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """When one server was powered on, and when calls came that power it off and never end."""

    server_id: str
    name: str
    intervals: list[Interval]
    endless: list[float]


class DeviceLogin(msgspec.Struct, frozen=True, kw_only=True):
    """A device-code login that waits for the user."""

    user_code: str
    client_id: str
    scope: str


class DeviceDecision(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The user's decision about a device-code login."""

    user_code: str
    agree: bool


class FaultInForce(msgspec.Struct, frozen=True, kw_only=True):
    """An active fault and its remaining matches (``None``: unlimited)."""

    number: int
    fault: Fault
    left: int | None


class HookState(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of the power hook's commands: pending, succeeded and failed."""

    pending: int
    finished: int
    failed: int


class State(msgspec.Struct, frozen=True, kw_only=True):
    """A summary; ``statuses`` counts servers without a task, ``tasks`` the others."""

    now: float
    statuses: dict[str, int]
    tasks: dict[str, int]
    settings: Settings
    outage: Outage
    faults: list[FaultInForce]
    hook: HookState
