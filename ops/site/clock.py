"""`lamplighter clock`: the clock that orders all requests, and its reset after a wrong time.

A reset lowers the store first and the clock's file after it. If it is interrupted between the two, the
next requests are still stamped above everything in the store, as before the reset. In the other order
they would seem older than what they follow, and would change nothing. Only then does the store refuse
what was stamped before: otherwise it would refuse these requests.
"""

import sys
import time

import click

from ops.cli.errors import EXIT_FOUND
from ops.cli.options import confirm, json_option, required_reason_option, yes_option
from ops.cli.session import Session, operator, pass_session
from ops.cli.terminal import duration, moment, print_json, print_line, warn
from ops.nodes.submit import check_hook_directories
from ops.site.clock_state import observe, observe_traffic
from producers import clock as hook_clock
from producers.hook import send
from producers.message import Batch
from schemas.notices import Notice
from workers.broker import outgoing
from workers.broker.depths import queue_depths
from workers.errors import BrokerError
from workers.store import generations

_PUBLISH_SECONDS = 20.0


@click.group
def clock() -> None:
    """Show and reset the clock that orders requests."""


@clock.command(short_help="Show the last generation, and how far it is ahead.")
@json_option()
@pass_session
def show(session: Session, *, as_json: bool) -> None:
    """Show the last generation of the hooks' clock and of the store, and what is in flight.

    Run it on the host of the hooks. Exit code 1: generations lie in the future.
    """
    state = observe(session)
    if as_json:
        print_json(state.as_json())
    else:
        print_line(f"clock: {_described(state.last, state.now)}")
        print_line(f"store: {_described(state.stored, state.now)}")
        for obstacle in state.obstacles():
            print_line(f"in flight: {obstacle}")
        if state.is_ahead:
            print_line(
                "correct the time of this host; if it is correct, run: lamplighter clock reset"
            )
    sys.exit(1 if state.is_ahead else 0)


@clock.command(short_help="Set the clock and the store back to the present.")
@required_reason_option
@yes_option
@pass_session
def reset(session: Session, reason: str, *, yes: bool) -> None:
    """Set the clock and the store back to the present, after a time that was wrong.

    The order of all requests stays. Run it on the host of the hooks, with the power, resync and
    slurm workers stopped. Nothing may be in flight: the command says what is, and changes nothing.
    """
    settings = session.settings
    check_hook_directories(settings.hook)
    state = observe(session)
    if not state.is_ahead:
        print_line("no generation lies in the future: there is nothing to reset")
        return
    _refuse(state.obstacles())
    ahead = duration(state.highest - state.now)
    confirm(f"Set the clock back by {ahead}, to {moment(state.now)}", yes=yes)
    done = _reset(session, reason)
    print_line(f"reset: the last generation is {_described(done, time.time_ns())}")


def _reset(session: Session, reason: str) -> int:
    """Reset under the clock's lock, so that no hook stamps a generation meanwhile."""
    settings = session.settings
    # now, because a person took the time to confirm; and before the lock, for which hooks wait
    session.prove_health(session.depths())
    with (
        session.store("state") as store,
        session.channel() as channel,
        hook_clock.locked(settings.hook.state) as locked,
    ):
        _refuse(observe_traffic(session, queue_depths(channel)).obstacles())
        now = time.time_ns()
        with store.connect() as connection:
            stored = generations.highest(connection, settings.cluster)
        before = max(locked.last, stored)
        _publish(session, before, now, reason)
        with store.begin() as connection:
            done = generations.lower(connection, settings.cluster, now)
        locked.write(done)
        with store.begin() as connection:
            generations.refuse_stamped_before(connection, settings.cluster, now, before)
    return done


def _publish(session: Session, before: int, now: int, reason: str) -> None:
    """Publish the notice first: a reset that the audit log does not know cannot happen.

    Raises:
        BrokerError: nothing was changed.
    """
    notice = Notice(
        name="clock.reset",
        cluster=session.settings.cluster,
        subject=session.settings.cluster,
        key=f"{before}/{now}",
        time=now,
        message=f"the clock is set back from {moment(before)} to {moment(now)}",
        remedy="none is needed",
        details={"by": operator(), "reason": reason, "from": str(before), "to": str(now)},
    )
    batches = iter([Batch([outgoing.event(notice)], lambda: None)])
    problem = send(session.settings.hook, batches, _PUBLISH_SECONDS)
    if problem is not None:
        raise BrokerError(f"nothing was reset: {problem}")


def _refuse(obstacles: list[str]) -> None:
    if obstacles:
        for obstacle in obstacles:
            warn(obstacle)
        warn("nothing was reset")
        sys.exit(EXIT_FOUND)


def _described(generation: int, now: int) -> str:
    if not generation:
        return "no generation yet"
    side = "ahead of" if generation > now else "behind"
    return (
        f"{generation} ({moment(generation)}), {duration(abs(generation - now))} {side} this host"
    )
