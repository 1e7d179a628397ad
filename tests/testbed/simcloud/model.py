"""One server as Nova stores it, and the actions that are allowed in each state.

States, actions and error messages follow Nova 33 (nova/compute/api.py and
nova/api/openstack/common.py). Nova checks the vm state first and then the task state.
"""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from tests.testbed.simcloud.errors import ConflictError
from tests.testbed.simcloud.settings import Span


class VmState(StrEnum):
    BUILDING = "building"
    ACTIVE = "active"
    STOPPED = "stopped"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    SHELVED = "shelved"
    SHELVED_OFFLOADED = "shelved_offloaded"
    RESCUED = "rescued"
    RESIZED = "resized"
    ERROR = "error"
    DELETED = "deleted"


class TaskState(StrEnum):
    SPAWNING = "spawning"
    POWERING_ON = "powering-on"
    POWERING_OFF = "powering-off"
    REBOOTING = "rebooting"
    REBOOTING_HARD = "rebooting_hard"
    SHELVING = "shelving"
    SHELVING_OFFLOADING = "shelving_offloading"
    UNSHELVING = "unshelving"
    PAUSING = "pausing"
    UNPAUSING = "unpausing"
    SUSPENDING = "suspending"
    RESUMING = "resuming"
    UNRESCUING = "unrescuing"
    RESIZE_FINISH = "resize_finish"
    DELETING = "deleting"
    IMAGE_SNAPSHOT = "image_snapshot"


class PowerState(IntEnum):
    NOSTATE = 0
    RUNNING = 1
    PAUSED = 3
    SHUTDOWN = 4
    SUSPENDED = 7


_STATUS = {
    VmState.BUILDING: "BUILD",
    VmState.STOPPED: "SHUTOFF",
    VmState.RESCUED: "RESCUE",
    VmState.RESIZED: "VERIFY_RESIZE",
}
_TASK_STATUS = {
    (VmState.ACTIVE, TaskState.REBOOTING): "REBOOT",
    (VmState.ACTIVE, TaskState.REBOOTING_HARD): "HARD_REBOOT",
}
_POWER = {
    VmState.ACTIVE: PowerState.RUNNING,
    VmState.STOPPED: PowerState.SHUTDOWN,
    VmState.PAUSED: PowerState.PAUSED,
    VmState.SUSPENDED: PowerState.SUSPENDED,
    VmState.SHELVED: PowerState.SHUTDOWN,
    VmState.RESCUED: PowerState.RUNNING,
    VmState.RESIZED: PowerState.RUNNING,
}


def default_status(vm_state: VmState) -> str:
    """Return the API's status for ``vm_state`` without a task."""
    return _STATUS.get(vm_state, vm_state.value.upper())


VM_STATES_BY_STATUS = {default_status(state): state for state in VmState}


@dataclass(frozen=True, slots=True)
class Fault:
    """The reason why a server is in ERROR. ``created`` is in seconds since the epoch."""

    code: int
    message: str
    created: float


@dataclass(slots=True)
class Server:
    """One server. Times are seconds since the epoch on the cloud's clock.

    ``revision`` grows with every change, so that renderings can be cached.
    ``operation`` grows with every action, so that the timer of an older action has no effect.
    """

    id: str
    name: str
    project_id: str
    created: float
    updated: float
    vm_state: VmState
    address: str
    launched: float | None = None
    terminated: float | None = None
    task_state: TaskState | None = None
    power_state: PowerState = PowerState.NOSTATE
    fault: Fault | None = None
    locked: bool = False
    flavor: str = "m1.tiny"
    image_id: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    networks: dict[str, list[str]] = field(default_factory=dict)
    boot_seconds: Span | None = None
    stop_seconds: Span | None = None
    revision: int = 0
    operation: int = 0

    @property
    def status(self) -> str:
        """The API's status. Nova shows most tasks only in the task state."""
        if self.task_state is not None:
            shown = _TASK_STATUS.get((self.vm_state, self.task_state))
            if shown is not None:
                return shown
        return default_status(self.vm_state)

    @property
    def powered(self) -> bool:
        """Whether the server runs and therefore costs money."""
        return self.power_state == PowerState.RUNNING

    def touch(self, now: float) -> None:
        """Record a change at the time ``now``."""
        self.updated = now
        self.revision += 1

    def settle(self, vm_state: VmState, now: float) -> None:
        """Enter ``vm_state`` without a task, and the power state that belongs to it.

        An error does not change the power state: after a failed stop, the server is still on.
        """
        self.vm_state = vm_state
        self.task_state = None
        if vm_state != VmState.ERROR:
            self.power_state = _POWER.get(vm_state, PowerState.NOSTATE)
            self.fault = None
        if vm_state == VmState.ACTIVE and self.launched is None:
            self.launched = now
        if vm_state == VmState.DELETED:
            self.terminated = now
        self.touch(now)


@dataclass(frozen=True, slots=True)
class Action:
    """The states an action requires (empty: any), its task state, and the state at its end."""

    name: str
    vm_states: frozenset[VmState]
    task_state: TaskState
    ends_in: VmState
    task_states: frozenset[TaskState | None] = frozenset({None})


_SHELVABLE = frozenset({VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED, VmState.SUSPENDED})
_SHELVED = frozenset({VmState.SHELVED, VmState.SHELVED_OFFLOADED})

START = Action("start", frozenset({VmState.STOPPED}), TaskState.POWERING_ON, VmState.ACTIVE)
STOP = Action(
    "stop", frozenset({VmState.ACTIVE, VmState.ERROR}), TaskState.POWERING_OFF, VmState.STOPPED
)
SOFT_REBOOT = Action("reboot", frozenset({VmState.ACTIVE}), TaskState.REBOOTING, VmState.ACTIVE)
HARD_REBOOT = Action(
    "reboot",
    _SHELVABLE | {VmState.ERROR},
    TaskState.REBOOTING_HARD,
    VmState.ACTIVE,
    frozenset({None, TaskState.REBOOTING, TaskState.REBOOTING_HARD}),
)
SHELVE = Action("shelve", _SHELVABLE, TaskState.SHELVING, VmState.SHELVED_OFFLOADED)
UNSHELVE = Action("unshelve", _SHELVED, TaskState.UNSHELVING, VmState.ACTIVE)
_RUNNING = frozenset({VmState.ACTIVE})
PAUSE = Action("pause", _RUNNING, TaskState.PAUSING, VmState.PAUSED)
UNPAUSE = Action("unpause", frozenset({VmState.PAUSED}), TaskState.UNPAUSING, VmState.ACTIVE)
SUSPEND = Action("suspend", _RUNNING, TaskState.SUSPENDING, VmState.SUSPENDED)
RESUME = Action("resume", frozenset({VmState.SUSPENDED}), TaskState.RESUMING, VmState.ACTIVE)
UNRESCUE = Action("unrescue", frozenset({VmState.RESCUED}), TaskState.UNRESCUING, VmState.ACTIVE)
CONFIRM_RESIZE = Action(
    "confirmResize", frozenset({VmState.RESIZED}), TaskState.RESIZE_FINISH, VmState.ACTIVE
)
# The action ends in the state in which it began.
CREATE_IMAGE = Action("createImage", _SHELVABLE, TaskState.IMAGE_SNAPSHOT, VmState.ACTIVE)
DELETE = Action("delete", frozenset(), TaskState.DELETING, VmState.DELETED, frozenset())


def check(server: Server, action: Action) -> None:
    """Check whether Nova would accept ``action``.

    Raises:
        ConflictError: the server is locked, or its vm state or task state does not allow the action.
    """
    if server.locked:
        raise ConflictError(f"Instance {server.id} is locked")
    if action in {START, STOP} and server.vm_state == VmState.SHELVED_OFFLOADED:
        # The server is on no host.
        raise ConflictError(f"Instance {server.id} is not ready")
    if action.vm_states and server.vm_state not in action.vm_states:
        raise _conflict(server, action, f"vm_state {server.vm_state}")
    if action.task_states and server.task_state not in action.task_states:
        raise _conflict(server, action, f"task_state {server.task_state}")
    if action is not DELETE and server.launched is None:
        raise ConflictError(f"Instance {server.id} is in an invalid state for '{action.name}'")


def _conflict(server: Server, action: Action, state: str) -> ConflictError:
    return ConflictError(f"Cannot '{action.name}' instance {server.id} while it is in {state}")
