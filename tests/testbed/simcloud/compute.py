"""The servers of the cloud and how they change over time; no HTTP."""

import random
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from tests.testbed.simcloud.clock import Time
from tests.testbed.simcloud.credentials import PROJECT_ID
from tests.testbed.simcloud.effects import FallsBack, Fate, GoesToError, NeverCompletes
from tests.testbed.simcloud.errors import BadRequestError, ForbiddenError, NotFoundError
from tests.testbed.simcloud.ledger import Ledger
from tests.testbed.simcloud.model import (
    CREATE_IMAGE,
    DELETE,
    HARD_REBOOT,
    SOFT_REBOOT,
    VM_STATES_BY_STATUS,
    Action,
    Fault,
    Server,
    TaskState,
    VmState,
    check,
)
from tests.testbed.simcloud.settings import CurrentSettings, ServerSpec, Span, draw

PowerListener = Callable[[Server, bool], None]
"""Called with a server and whether it is powered on now."""


@dataclass(frozen=True, slots=True)
class Query:
    """A listing's filters. With ``changes_since`` (seconds since the epoch), deleted servers appear too."""

    limit: int
    marker: str | None = None
    name: re.Pattern[str] | None = None
    vm_states: frozenset[VmState] | None = None
    changes_since: float | None = None
    tags: frozenset[str] = frozenset()

    def admits(self, server: Server) -> bool:
        if self.changes_since is None:
            if server.vm_state == VmState.DELETED:
                return False
        elif int(server.updated) < self.changes_since:
            return False
        if self.vm_states is not None and server.vm_state not in self.vm_states:
            return False
        if self.name is not None and not self.name.search(server.name):
            return False
        return self.tags.issubset(server.tags)


class Compute:
    """All servers of all projects; ``on_power`` is called after each change of power."""

    def __init__(
        self, time: Time, dials: CurrentSettings, seed: int, on_power: PowerListener
    ) -> None:
        self.ledger = Ledger()
        self._time = time
        self.dials = dials
        self._rng = random.Random(seed)
        self._on_power = on_power
        self._servers: dict[str, Server] = {}
        self._order: list[Server] = []
        self._order_stale = False
        self._place: dict[str, int] = {}

    # -- reading

    def all(self, *, deleted: bool = False) -> Iterator[Server]:
        """Iterate over the servers of all projects, oldest first; ``deleted`` includes deleted ones."""
        return (s for s in self._servers.values() if deleted or s.vm_state != VmState.DELETED)

    def find(self, server_id: str) -> Server | None:
        return self._servers.get(server_id)

    def get(self, project_id: str, server_id: str) -> Server:
        """Return the project's server.

        Raises:
            NotFoundError: no server has this id, it was deleted, or it belongs to another project.
        """
        server = self._servers.get(server_id)
        if server is None or server.project_id != project_id or server.vm_state == VmState.DELETED:
            raise NotFoundError(f"Instance {server_id} could not be found.")
        return server

    def listed(self, project_id: str, query: Query) -> list[Server]:
        """Return one page of the project's servers, newest first.

        Raises:
            BadRequestError: the marker is not the id of a server.
        """
        if query.changes_since is not None and self.dials.now.hide_changes:
            return []
        order = self._ordered()
        first = 0
        if query.marker is not None:
            place = self._place.get(query.marker)
            if place is None or order[place].project_id != project_id:
                raise BadRequestError(f"marker [{query.marker}] not found")
            first = place + 1
        admitted = (
            s for s in islice(order, first, None) if s.project_id == project_id and query.admits(s)
        )
        return list(islice(admitted, query.limit))

    def _ordered(self) -> list[Server]:
        if self._order_stale:
            self._order_stale = False
            self._order = sorted(
                self._servers.values(), key=lambda s: (int(s.created), s.id), reverse=True
            )
            self._place = {server.id: place for place, server in enumerate(self._order)}
        return self._order

    # -- changing

    def add(self, spec: ServerSpec) -> Server:
        """Add a server in the state given by ``spec``.

        Raises:
            BadRequestError: a server without a task cannot have this status.
        """
        vm_state = VM_STATES_BY_STATUS.get(spec.status)
        if vm_state is None:
            raise BadRequestError(
                f"status: unknown {spec.status!r}; one of {', '.join(sorted(VM_STATES_BY_STATUS))}"
            )
        server = self._new(spec)
        server.launched = server.created
        self.put(server, vm_state)
        return server

    def create(
        self, spec: ServerSpec, flavor: str, image_id: str | None, fate: Fate | None
    ) -> Server:
        """Start to build a server, as an API call does.

        Raises:
            ForbiddenError: the project's quota of instances is exhausted.
        """
        self._check_quota(spec.project_id or PROJECT_ID)
        server = self._new(spec)
        server.flavor, server.image_id = flavor, image_id
        server.task_state = TaskState.SPAWNING
        self._run(server, VmState.ACTIVE, self._span(server, VmState.ACTIVE), fate)
        return server

    def act(self, server: Server, action: Action, fate: Fate | None = None) -> None:
        """Accept ``action``; it ends after its usual time, or as ``fate`` says.

        Raises:
            ConflictError: the server's state does not allow it.
        """
        check(server, action)
        server.task_state = action.task_state
        server.touch(self._time.now())
        if action in {SOFT_REBOOT, HARD_REBOOT} and server.powered:
            # The guest is off but the server still costs money, so the ledger does not record it.
            self._on_power(server, False)
        seconds = 0.0 if action is DELETE else self._span(server, action.ends_in)
        self._run(server, action.ends_in, seconds, fate)

    def snapshot(
        self, server: Server, seconds: float, fate: Fate | None, done: Callable[[bool], None]
    ) -> None:
        """Start to make an image of a server; ``done`` is called with whether it succeeded.

        Raises:
            ConflictError: the server's state does not allow it.
        """
        check(server, CREATE_IMAGE)
        server.operation += 1
        operation = server.operation
        server.task_state = CREATE_IMAGE.task_state
        server.touch(self._time.now())
        if isinstance(fate, NeverCompletes):
            return

        def finish() -> None:
            done(fate is None and server.operation == operation)
            if server.operation == operation:
                server.task_state = None
                server.touch(self._time.now())

        self._time.call_later(seconds, finish)

    def put(self, server: Server, vm_state: VmState, fault: Fault | None = None) -> None:
        """Set the server's state at once, even during a task; this bypasses the API."""
        server.operation += 1
        if fault is not None:
            server.fault = fault
        server.settle(vm_state, self._time.now())
        self._note_power(server)

    def forget(self, server: Server) -> None:
        """Remove the server without a trace, including timers and ledger."""
        server.operation += 1
        del self._servers[server.id]
        self.ledger.forget(server.id)
        self._order_stale = True

    def describe(self, server: Server) -> None:
        """Record that the server's metadata, tags or lock have changed."""
        server.touch(self._time.now())

    # -- progress over time

    def _check_quota(self, project_id: str) -> None:
        quota = self.dials.now.instance_quota
        if quota is None:
            return
        used = sum(1 for server in self.all() if server.project_id == project_id)
        if used >= quota:
            raise ForbiddenError(
                f"Quota exceeded for instances: Requested 1, but already used {used} of {quota}"
                " instances"
            )

    def _new(self, spec: ServerSpec) -> Server:
        now = self._time.now()
        number = len(self._servers) + 1
        server = Server(
            id=str(uuid.UUID(int=self._rng.getrandbits(128), version=4)),
            name=spec.name,
            project_id=spec.project_id or PROJECT_ID,
            created=now,
            updated=now,
            vm_state=VmState.BUILDING,
            address=spec.address or f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
            locked=spec.locked,
            metadata=dict(spec.metadata),
            tags=list(spec.tags),
            networks=dict(spec.networks),
            boot_seconds=spec.boot_seconds,
            stop_seconds=spec.stop_seconds,
        )
        self._servers[server.id] = server
        self._order_stale = True
        return server

    def _span(self, server: Server, ends_in: VmState) -> float:
        own: Span | None
        match ends_in:
            case VmState.ACTIVE:
                own, usual = server.boot_seconds, self.dials.now.boot_seconds
            case VmState.STOPPED:
                own, usual = server.stop_seconds, self.dials.now.stop_seconds
            case _:
                own, usual = None, self.dials.now.shelve_seconds
        return draw(usual if own is None else own, self._rng)

    def _run(self, server: Server, ends_in: VmState, seconds: float, fate: Fate | None) -> None:
        server.operation += 1
        operation = server.operation
        # a server that is in ERROR for this may still run, and can only be rebooted or deleted
        if isinstance(fate, NeverCompletes | GoesToError) and ends_in is not VmState.ACTIVE:
            self.ledger.note_endless(server.id, at=self._time.now())
        if isinstance(fate, NeverCompletes):
            return
        if fate is not None and fate.after_seconds is not None:
            seconds = fate.after_seconds

        def finish() -> None:
            if server.operation == operation:
                self._finish(server, ends_in, fate)

        if seconds <= 0:
            finish()
        else:
            self._time.call_later(seconds, finish)

    def _finish(self, server: Server, ends_in: VmState, fate: Fate | None) -> None:
        now = self._time.now()
        match fate:
            case GoesToError(message=message, code=code):
                server.fault = Fault(code, message, now)
                server.settle(VmState.ERROR, now)
            case FallsBack():
                server.settle(server.vm_state, now)
            case _:
                rebooted = server.powered and ends_in == VmState.ACTIVE
                server.settle(ends_in, now)
                if rebooted:
                    self._on_power(server, True)
        self._note_power(server)

    def _note_power(self, server: Server) -> None:
        if self.ledger.note(server.id, powered=server.powered, at=self._time.now()):
            self._on_power(server, server.powered)
