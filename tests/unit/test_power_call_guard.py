"""The guard of a call reads the node's row at the last moment, and Slurm's snapshot where it must."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

from schemas.commands import Desired, Kind, PowerCommand
from schemas.snapshot import Power
from tests.testbed.deliveries import pending
from tests.testbed.messages import MOMENT, command
from tests.testbed.pending_nodes import BAKED, node
from workers.clouds.actions import BAKE, CREATE, FIND_IMAGE, START
from workers.clouds.decide import Act
from workers.clouds.errors import CloudError, NotWantedError, classify, may_take_effect, rest_asked
from workers.clouds.nova_requests import Call
from workers.errors import TokenServiceAwayError
from workers.power import calls
from workers.power.admit import DISAGREES, UNCONFIRMED
from workers.power.calls import Guard
from workers.power.intake import PROMPT, Pending
from workers.store.nodes import DesiredRow
from workers.store.power_store import PowerStore
from workers.store.slurm_view import WANTED as WANTED_UP
from workers.store.slurm_view import SlurmView, SnapshotReader

WANTED = DesiredRow("node1", Desired.UP, 7, "request", None, "we", lease_left=60.0)
OFF = replace(WANTED, desired=Desired.DOWN)
LATE = replace(command(kind=Kind.SUSPEND), expiry=MOMENT)
TIMELY = replace(LATE, expiry=time.time_ns() + 3600 * 10**9)
FAILED = replace(command(kind=Kind.RESUME_FAIL), expiry=None)
# It is as old as the snapshot that showed the difference.
REPAIR = replace(command(kind=Kind.SUSPEND), expiry=None, repair=True)


class OneRow(PowerStore):
    """A store that holds one row."""

    def __init__(self, row: DesiredRow) -> None:
        self.owner = "we"
        self.row = row
        self.reads = 0

    def read_one(self, node: str) -> DesiredRow:
        assert node == self.row.node
        self.reads += 1
        return self.row


class OneView(SnapshotReader):
    """Slurm's newest snapshot."""

    def __init__(self, slurm: SlurmView | None) -> None:
        self.slurm = slurm
        self.reads = 0

    def view(self) -> SlurmView | None:
        self.reads += 1
        return self.slurm


def shows(power: Power, *, generation: int = MOMENT + 1, node: str = "node1") -> SlurmView:
    return SlurmView(generation, {node: power}, confirmed=True, time=generation)


def guard(
    row: DesiredRow,
    *,
    tries: int = 0,
    slurm: SlurmView | None = None,
    asked: PowerCommand | None = None,
) -> None:
    """Run the guard of a call, after so many tries that passed; with `asked`, it powers off."""
    wanted, request = (WANTED, None) if asked is None else (OFF, just_come(asked))
    store, snapshots = OneRow(wanted), OneView(None)
    made = Guard(store, snapshots, 20.0, wanted, request)
    for _ in range(tries):
        made()
    store.row, snapshots.slurm = row, slurm
    made()


def just_come(asked: PowerCommand) -> Pending:
    """A request that has not waited here."""
    return pending(asked, since=time.monotonic())


def test_a_call_that_is_wanted_may_be_made_while_the_lease_outlasts_it() -> None:
    guard(WANTED)
    guard(replace(WANTED, lease_left=20.1, unsettled_left=5.0))


def test_the_time_that_the_guard_itself_took_is_not_left_of_the_lease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A store that is slow to say what Slurm shows: another worker could have the node before the call ends."""
    taken, real = 39.0, time.monotonic
    passed = 0.0

    class SlowView(OneView):
        def view(self) -> SlurmView | None:
            nonlocal passed
            passed += taken
            return super().view()

    row, now = replace(OFF, generation=MOMENT), just_come(FAILED)
    monkeypatch.setattr(
        calls, "time", SimpleNamespace(monotonic=lambda: real() + passed, time_ns=time.time_ns)
    )
    made = Guard(OneRow(row), SlowView(shows(Power.OFF)), 20.0, row, now)
    made()
    taken = 40.0
    with pytest.raises(NotWantedError, match=r"the lease ends in 20\.0 s"):
        made()


@pytest.mark.parametrize("tries", [0, 2])
@pytest.mark.parametrize(
    ("row", "why"),
    [
        (replace(WANTED, generation=8), "generation 8 has come"),
        (replace(WANTED, generation=6), "generation 6 has come"),
        (replace(WANTED, lease_owner="another"), "no longer ours"),
        (replace(WANTED, lease_owner=None), "no longer ours"),
        (replace(WANTED, lease_left=20.0), "ends in 20.0 s"),
        (replace(WANTED, lease_left=-1.0), "ends in -1.0 s"),
        (replace(WANTED, held="disk swap"), "on hold: disk swap"),
    ],
)
def test_every_try_is_refused_once_the_row_has_changed_or_the_lease_is_too_short(
    row: DesiredRow, why: str, tries: int
) -> None:
    with pytest.raises(NotWantedError, match=why) as caught:
        guard(row, tries=tries)
    assert caught.value.waits is None


@pytest.mark.parametrize("asked", [LATE, FAILED, REPAIR])
@pytest.mark.parametrize("power", [Power.ON, Power.POWERING_UP, Power.SET_DOWN, Power.CHANGING])
def test_a_late_power_off_is_refused_where_slurm_does_not_show_the_node_as_off(
    asked: PowerCommand, power: Power
) -> None:
    with pytest.raises(NotWantedError, match=f"shows the node as {power}") as caught:
        guard(OFF, slurm=shows(power), asked=asked)
    assert caught.value.waits is not None


@pytest.mark.parametrize("asked", [LATE, FAILED, REPAIR])
def test_a_late_power_off_waits_for_a_snapshot_that_is_newer_than_it(asked: PowerCommand) -> None:
    with pytest.raises(NotWantedError) as caught:
        guard(OFF, slurm=shows(Power.OFF, generation=MOMENT - 1), asked=asked)
    assert caught.value.waits is not None
    assert caught.value.waits.error == UNCONFIRMED


@pytest.mark.parametrize("asked", [LATE, FAILED, REPAIR])
@pytest.mark.parametrize("power", [Power.OFF, Power.POWERING_DOWN])
def test_a_late_power_off_may_be_made_where_slurm_shows_the_node_as_off(
    asked: PowerCommand, power: Power
) -> None:
    guard(OFF, slurm=shows(power), asked=asked)
    guard(OFF, slurm=None, asked=asked)


def test_a_power_off_in_time_asks_no_snapshot() -> None:
    guard(OFF, slurm=shows(Power.ON), asked=TIMELY)


def test_a_suspend_that_becomes_late_between_two_tries_is_judged_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Guard(OneRow(OFF), OneView(shows(Power.ON)), 20.0, OFF, just_come(LATE))
    monkeypatch.setattr(time, "time_ns", lambda: MOMENT)
    made()
    monkeypatch.setattr(time, "time_ns", lambda: MOMENT + 1)
    with pytest.raises(NotWantedError):
        made()


def test_a_suspend_that_waits_long_for_its_turn_is_judged_as_a_late_one() -> None:
    """A slurmctld that was killed right after its call has forgotten it, and may use the node."""
    waits = pending(TIMELY, since=time.monotonic() - PROMPT - 1)
    made = partial(Guard, OneRow(OFF), wanted=OFF, api_timeout=20.0, request=waits)
    with pytest.raises(NotWantedError, match="shows the node as on") as caught:
        made(snapshots=OneView(shows(Power.ON)))()
    assert caught.value.waits is not None
    made(snapshots=OneView(shows(Power.OFF)))()
    by_hand = replace(waits, command=replace(TIMELY, expiry=None))
    replace(made(snapshots=OneView(shows(Power.ON))), request=by_hand)()


RESUME = replace(command(kind=Kind.RESUME), generation=7, expiry=time.time_ns() + 3600 * 10**9)


def prompt() -> Pending:
    """A resume that came at once, and has not waited."""
    return replace(pending(RESUME), rested=False, since=time.monotonic())


def boots(
    slurm: SlurmView,
    asked: Pending | None,
    *,
    is_reboot: bool = False,
    boot_age: float | None = None,
) -> None:
    """Run the guard of a call that boots a node for Slurm, or reboots it."""
    row = replace(WANTED, boot_age=boot_age)
    Guard(OneRow(row), OneView(slurm), 20.0, WANTED, asked, is_reboot=is_reboot)()


def test_a_reboot_for_slurm_is_refused_once_the_node_has_registered() -> None:
    boots(shows(Power.POWERING_UP), prompt(), is_reboot=True)
    boots(shows(Power.ON, generation=6), prompt(), is_reboot=True)
    boots(shows(Power.CHANGING, generation=7), prompt(), is_reboot=True)
    with pytest.raises(NotWantedError, match="counts the node as running") as caught:
        boots(shows(Power.ON, generation=7), prompt(), is_reboot=True)
    assert caught.value.waits is None


@pytest.mark.parametrize("power", sorted(set(Power) - {Power.ON, Power.POWERING_UP}))
def test_a_reboot_for_slurm_is_made_only_while_slurm_waits_for_a_boot(power: Power) -> None:
    """A node that is about to change may have a job: `State=POWER_DOWN` on a busy node."""
    for asked in (prompt(), replace(prompt(), rested=True), None):
        with pytest.raises(NotWantedError) as caught:
            boots(shows(power, generation=8), asked, is_reboot=True)
        assert caught.value.waits is not None


@pytest.mark.parametrize("power", [Power.POWERING_UP, Power.ON])
def test_a_reboot_for_slurm_is_repeated_only_on_a_fresh_snapshot_since_the_last_one(
    power: Power,
) -> None:
    """Whatever the cloud answered to the first one, the node may have booted, and run a job."""
    before, after = (shows(power, generation=at) for at in (6, MOMENT + 1))
    again = partial(boots, asked=prompt(), is_reboot=True, boot_age=PROMPT + 2.0)
    for seen in (before, replace(after, recent=False), replace(after, age=2.5)):
        if seen.has_registered("node1", WANTED.generation):
            continue
        with pytest.raises(NotWantedError, match="since the last boot") as caught:
            again(seen)
        assert caught.value.waits is not None
    if power is Power.ON:
        with pytest.raises(NotWantedError, match="counts the node as running"):
            again(after)
    else:
        again(after)


@pytest.mark.parametrize(
    "asked",
    [
        replace(prompt(), rested=True),
        replace(prompt(), since=time.monotonic() - PROMPT - 1),
        None,
    ],
    ids=["came late or again", "waits here for long", "waits elsewhere"],
)
def test_a_reboot_that_is_not_prompt_needs_a_fresh_snapshot_since_slurms_call(
    asked: Pending | None,
) -> None:
    """The boot of an earlier request may have served the call already: a job may run on the node."""
    before, after = (shows(Power.POWERING_UP, generation=at) for at in (7, 8))
    for seen in (before, replace(after, recent=False)):
        with pytest.raises(NotWantedError, match="since the last boot") as caught:
            boots(seen, asked, is_reboot=True)
        assert caught.value.waits is not None
    boots(after, asked, is_reboot=True)
    boots(before, prompt(), is_reboot=True)


@pytest.mark.parametrize(
    "asked",
    [replace(RESUME, expiry=None), replace(RESUME, repair=True)],
    ids=["an operator", "a repair"],
)
def test_a_reboot_for_a_resume_that_is_not_slurms_call_needs_a_fresh_snapshot_since_it(
    asked: PowerCommand,
) -> None:
    """A boot may be due for an earlier call, which ended without one: the node may run a job since."""
    by_hand = replace(prompt(), command=asked)
    for seen in (shows(Power.ON, generation=6), shows(Power.POWERING_UP, generation=7)):
        with pytest.raises(NotWantedError, match="since the last boot") as caught:
            boots(seen, by_hand, is_reboot=True)
        assert caught.value.waits is not None
    boots(shows(Power.POWERING_UP, generation=8), by_hand, is_reboot=True)


@pytest.mark.parametrize(
    "asked",
    [prompt(), replace(prompt(), command=replace(RESUME, repair=True), rested=True), None],
    ids=["Slurm", "a late repair", "waits elsewhere"],
)
def test_what_a_broken_server_runs_ends_only_if_slurm_does_not_hear_its_slurmd(
    asked: Pending | None,
) -> None:
    """Nova's ERROR can be that of an operation beside it, such as a migration that failed: a job may run."""

    def replaces(slurm: SlurmView | None) -> None:
        Guard(OneRow(WANTED), OneView(slurm), 20.0, WANTED, asked, replaces=True)()

    heard = replace(shows(Power.ON, generation=WANTED.generation), answering={"node1"})
    with pytest.raises(NotWantedError, match="its slurmd answers") as caught:
        replaces(heard)
    assert caught.value.ends
    assert caught.value.waits is not None
    assert caught.value.waits.error == DISAGREES
    replaces(replace(heard, answering={"node2"}))
    replaces(replace(heard, generation=WANTED.generation - 1))  # before the request
    replaces(None)


def test_no_late_resume_boots_a_node_that_slurm_has_powered_off_since() -> None:
    """A boot that Slurm has given back: the node would register and get a job, and then be powered off."""
    late = replace(prompt(), rested=True)
    for power in Power:
        if power in {Power.OFF, Power.POWERING_DOWN}:
            with pytest.raises(NotWantedError, match="powered the node off since") as caught:
                boots(shows(power), late)
            assert caught.value.waits is not None
        else:
            boots(shows(power), late)
        boots(shows(power, generation=7), late)
        boots(replace(shows(power), fresh=False), late)
        boots(shows(power), prompt())
        boots(shows(power), replace(late, command=replace(RESUME, expiry=None)))  # an operator's


@pytest.mark.parametrize("rested", [False, True])
def test_a_boot_that_slurm_no_longer_waits_for_needs_a_newer_snapshot_that_wants_it(
    *, rested: bool
) -> None:
    """The node would register, get a job, and be powered off by the request that gave it back."""
    now = time.time_ns()
    expired = replace(RESUME, generation=now - 100, expiry=now - 50)
    asked = replace(prompt(), command=expired, rested=rested)
    for seen in (
        shows(Power.POWERING_UP, generation=now - 60),
        shows(Power.ON, generation=now - 50),
    ):
        with pytest.raises(NotWantedError, match="no longer waits") as caught:
            boots(seen, asked)
        assert caught.value.waits is not None
    newer = shows(Power.POWERING_UP, generation=now - 49)
    with pytest.raises(NotWantedError, match="no longer waits"):
        boots(replace(newer, fresh=False), asked)
    for power in Power:
        if power in {Power.OFF, Power.POWERING_DOWN, Power.CHANGING}:
            with pytest.raises(NotWantedError):
                boots(shows(power, generation=now - 49), asked)
        else:
            boots(shows(power, generation=now - 49), asked)
    boots(shows(Power.OFF), replace(asked, command=replace(expired, expiry=None)))  # an operator's


@pytest.mark.parametrize("rested", [False, True])
def test_a_boot_is_in_time_by_the_hooks_clock_though_ours_is_an_hour_ahead(*, rested: bool) -> None:
    """Every boot would wait until Slurm has given it up."""
    called = time.time_ns() - 3600 * 10**9
    asked = replace(RESUME, generation=called, expiry=called + 600 * 10**9)
    request = replace(prompt(), command=asked, rested=rested)
    seen = shows(Power.POWERING_UP, generation=called)
    boots(replace(seen, ahead=3600.0), request)
    for ahead in (0.0, 2900.0, -3600.0):
        with pytest.raises(NotWantedError, match="no longer waits"):
            boots(replace(seen, ahead=ahead), request)


def test_a_reboot_waits_until_a_boot_from_hardly_before_slurms_call_could_register() -> None:
    """A slurmctld that forgot its call calls again: the boot for the first call serves the second."""

    def reboot(boot_age: float | None, slurm: SlurmView, called: float = 0.0) -> None:
        generation = time.time_ns() - int(called * 1e9)
        row = replace(WANTED, generation=generation, boot_age=boot_age)
        asked = replace(prompt(), command=replace(RESUME, generation=generation))
        Guard(OneRow(row), OneView(slurm), 20.0, row, asked, is_reboot=True)()

    waits = shows(Power.POWERING_UP, generation=time.time_ns() + 60 * 10**9)
    for boot_age, seen, called in (
        (0.0, waits, 0.0),
        (PROMPT - 0.1, waits, 0.0),
        (PROMPT + 5, replace(waits, age=6.0), 8.0),
        (PROMPT + 5, replace(waits, recent=False), 8.0),
        (PROMPT + 5, shows(Power.POWERING_UP), 8.0),
    ):
        with pytest.raises(NotWantedError, match="since the last boot") as caught:
            reboot(boot_age, seen, called)
        assert caught.value.waits is not None
    with pytest.raises(NotWantedError, match="counts the node as running"):
        reboot(PROMPT + 5, replace(waits, power={"node1": Power.ON}), 8.0)
    reboot(PROMPT + 5, replace(waits, age=4.0), 8.0)
    # booted long before: slurmctld ignores that boot, and no job can be on the node
    reboot(PROMPT + 5, shows(Power.POWERING_UP))
    reboot(None, shows(Power.POWERING_UP))


def test_a_late_reboot_of_a_server_that_somebody_else_has_started_waits_until_it_could_register() -> (
    None
):
    """The node registered 9 s after the newest snapshot, and lost the job that it had got (a storm found it)."""
    request = replace(prompt(), rested=True)
    waits = shows(Power.POWERING_UP, generation=MOMENT + 1)

    def reboot(on_for: float, slurm: SlurmView = waits) -> None:
        seen_on = time.monotonic() - on_for
        Guard(
            OneRow(WANTED), OneView(slurm), 20.0, WANTED, request, is_reboot=True, seen_on=seen_on
        )()

    for on_for, seen in (
        (0.0, waits),
        (PROMPT - 0.1, waits),
        (PROMPT + 5, replace(waits, age=6.0)),
    ):
        with pytest.raises(NotWantedError, match="since the last boot") as caught:
            reboot(on_for, seen)
        assert caught.value.waits is not None
    reboot(PROMPT + 5, replace(waits, age=4.0))
    reboot(math.inf)


def test_a_reboot_for_a_call_from_the_future_waits_for_a_newer_snapshot() -> None:
    """The hooks' clock was ahead, and is not: the call may have waited for a broker, and its age is unknown."""

    def reboot(ahead: float, slurm: SlurmView) -> None:
        row = replace(WANTED, generation=time.time_ns() + int(ahead * 1e9))
        asked = replace(prompt(), command=replace(RESUME, generation=row.generation))
        Guard(OneRow(row), OneView(slurm), 20.0, row, asked, is_reboot=True)()

    reboot(0.5, shows(Power.POWERING_UP))  # clocks that differ a little
    with pytest.raises(NotWantedError, match="no recent snapshot"):
        reboot(20.0, shows(Power.POWERING_UP))
    newer = time.time_ns() + 60 * 10**9
    reboot(20.0, shows(Power.POWERING_UP, generation=newer))
    with pytest.raises(NotWantedError, match="counts the node as running"):
        reboot(20.0, shows(Power.ON, generation=newer))


@pytest.mark.parametrize("asked", [LATE, FAILED, REPAIR])
def test_a_late_power_off_waits_until_a_boot_that_may_register_has_had_its_time(
    asked: PowerCommand,
) -> None:
    """A node that registers is back in Slurm without any call of a program, and gets jobs."""

    def power_off(boot_age: float | None, slurm: SlurmView, asked: PowerCommand) -> None:
        row = replace(OFF, boot_age=boot_age)
        Guard(OneRow(row), OneView(slurm), 20.0, OFF, just_come(asked), registers_within=600.0)()

    off = shows(Power.OFF)
    for boot_age, seen in (
        (0.0, off),
        (PROMPT - 0.1, off),
        (30.0, replace(off, age=20.5)),
        (30.0, replace(off, recent=False)),
        (599.0, replace(off, recent=False)),
    ):
        with pytest.raises(NotWantedError, match="may register") as caught:
            power_off(boot_age, seen, asked)
        assert caught.value.waits is not None
    power_off(30.0, replace(off, age=19.5), asked)
    for boot_age_past in (600.0, None):
        power_off(boot_age_past, replace(off, recent=False), asked)
    power_off(0.0, off, TIMELY)


def test_a_new_server_is_powered_off_only_if_a_recent_snapshot_shows_it_as_off() -> None:
    """A node that registers is back in Slurm, and gets jobs, without any call of a program."""

    def power_off(slurm: SlurmView | None, boot_age: float = 60.0) -> None:
        row = replace(WANTED, desired=Desired.READY, boot_age=boot_age)
        Guard(OneRow(row), OneView(slurm), 20.0, row, ends_deploy=True)()

    off = shows(Power.OFF)
    power_off(off)
    power_off(None)  # without snapshots, nobody knows
    for slurm, boot_age in (
        (off, PROMPT - 0.1),
        (replace(off, age=55.0), 60.0),
        (replace(off, recent=False), 60.0),
    ):
        with pytest.raises(NotWantedError, match="may register") as caught:
            power_off(slurm, boot_age)
        assert caught.value.waits is not None
        assert caught.value.waits.error == UNCONFIRMED
    with pytest.raises(NotWantedError, match="powers it off itself") as caught:
        power_off(shows(Power.ON))
    assert caught.value.waits is not None
    assert (caught.value.waits.error, caught.value.ends) == (DISAGREES, True)


def test_nothing_boots_a_node_that_slurm_has_asked_to_power_off_since() -> None:
    """That request waits for a snapshot; if Slurm wants the node up again, a later one shows it."""
    asked = replace(WANTED, off_asked=MOMENT)
    early = shows(Power.ON, generation=MOMENT - 1)
    for seen in (early, *(shows(power) for power in set(Power) - WANTED_UP)):
        with pytest.raises(NotWantedError, match="asked later") as caught:
            guard(asked, slurm=seen)
        assert caught.value.waits is not None
    for power in WANTED_UP:
        guard(asked, slurm=shows(power))
    guard(asked, slurm=None)
    for earlier in (WANTED.generation, WANTED.generation - 1):
        guard(replace(WANTED, off_asked=earlier), slurm=early)


def test_a_call_for_a_resume_reads_no_snapshot() -> None:
    store, snapshots = OneRow(WANTED), OneView(shows(Power.ON))
    Guard(store, snapshots, 20.0, WANTED)()
    assert (store.reads, snapshots.reads) == (1, 0)


@pytest.mark.parametrize(
    ("answer", "tries", "may"),
    [
        ("id-1", 1, False),
        ("id-1", 2, True),
        (NotWantedError("moved on"), 0, False),
        (NotWantedError("moved on"), 1, True),
        (CloudError(None, "reset by peer"), 1, True),
        (CloudError(504, "gateway timeout"), 1, True),
        (CloudError(409, "conflict"), 1, False),
        (CloudError(409, "conflict"), 2, True),
        (CloudError(500, "boom"), 1, False),
        (TokenServiceAwayError("nobody answered"), 0, False),
        (TokenServiceAwayError("nobody answered"), 1, True),
        (KeyError("server"), 1, True),
    ],
)
def test_only_a_try_without_an_answer_of_the_cloud_may_take_effect_later(
    answer: str | Exception,
    tries: int,
    may: bool,  # noqa: FBT001
) -> None:
    assert may_take_effect(answer, tries) is may


def test_a_foreign_error_is_judged_by_the_next_listing() -> None:
    assert classify(KeyError("server")) == classify(KeyError("server"))
    assert classify(KeyError("server")).cause.message == "KeyError: 'server'"
    assert classify(CloudError(409, "no")).cause.error == "conflict"


@pytest.mark.parametrize(
    ("asked", "rest"), [(None, 1.0), (0.0, 1.0), (7.0, 7.0), (600.0, 600.0), (86_400.0, 600.0)]
)
def test_a_cloud_gets_the_rest_that_it_asks_for_up_to_ten_minutes(
    asked: float | None, rest: float
) -> None:
    assert rest_asked(CloudError(429, "slow down", retry_after=asked)) == rest
    assert rest_asked(KeyError("server")) == 1.0


@pytest.mark.parametrize("power", Power)
def test_for_a_row_whose_own_request_has_ended_a_node_is_powered_off_only_if_slurm_shows_it_off(
    power: Power,
) -> None:
    """An older request led here; the row's own may have ended because Slurm wants the node up."""
    newer = shows(power, generation=OFF.generation)
    if power in {Power.OFF, Power.POWERING_DOWN}:
        Guard(OneRow(OFF), OneView(newer), 20.0, OFF)()
    else:
        with pytest.raises(NotWantedError, match=f"shows the node as {power}"):
            Guard(OneRow(OFF), OneView(newer), 20.0, OFF)()
    for seen in (replace(newer, fresh=False), replace(newer, generation=OFF.generation - 1)):
        with pytest.raises(NotWantedError, match="no newer snapshot") as caught:
            Guard(OneRow(OFF), OneView(seen), 20.0, OFF)()
        assert caught.value.waits is not None
    Guard(OneRow(OFF), OneView(None), 20.0, OFF)()


def test_calls_are_made_for_the_request_that_has_raised_the_row() -> None:
    other = replace(command(kind=Kind.SUSPEND, generation=MOMENT + 10**9), expiry=None)
    waiting = pending(LATE), pending(other)
    assert node(LATE, *waiting).request == waiting[0]
    assert node(other, *waiting).request == waiting[1]
    assert node(command(generation=MOMENT + 2 * 10**9), *waiting).request is None
    assert node(LATE).request is None


@pytest.mark.parametrize(
    ("action", "call"),
    [
        (START, Call(START, "id-1", "node1", "all")),
        (CREATE, Call(CREATE, "id-1", "node1", "all", "image-id")),
        (BAKE, Call(BAKE, "id-1", "node1", "all", BAKED.image, BAKED.id)),
        (FIND_IMAGE, Call(FIND_IMAGE, "id-1", "node1", "all", BAKED.image, BAKED.id)),
    ],
)
def test_a_call_names_the_image_only_where_one_is_made_or_used(action: str, call: Call) -> None:
    baking = node(BAKED, pending(BAKED))
    image = "image-id" if action == CREATE else None
    assert baking.call_for(Act(action, "id-1"), image) == call
