"""A queue's consumer always ends as the link last wished, in whatever order the broker answers."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from workers.broker.subscription import Phase, Signal, Subscription, SubscriptionStep, after


class Broker(RuleBasedStateMachine):
    """A broker and a subscription; requests and answers wait in two channels that keep their order."""

    def __init__(self) -> None:
        super().__init__()
        self.subscription = Subscription("power.resume")
        self.exists = True
        self.consumers: set[str] = set()
        self.requests: list[tuple[SubscriptionStep, str]] = []
        self.answers: list[tuple[Signal, str]] = []
        self.waits = 0
        self.is_closed = False

    def signal(self, signal: Signal) -> None:
        self.subscription, step = after(self.subscription, signal)
        if step is SubscriptionStep.WAIT:
            self.waits += 1
        elif step is not None:
            self.requests.append((step, self.subscription.tag))

    @rule(wanted=st.booleans())
    def wish(self, wanted: bool) -> None:  # noqa: FBT001 - Hypothesis passes it by name
        self.signal(Signal.RESUME if wanted else Signal.PAUSE)

    @rule()
    def delete_queue(self) -> None:
        self.exists = False
        self.cancel_consumers()

    @rule()
    def declare_queue(self) -> None:
        self.exists = True

    @rule()
    def cancel_consumers(self) -> None:
        """As at a failover, or at consumer_timeout."""
        self.answers += [(Signal.CANCELLED, tag) for tag in sorted(self.consumers)]
        self.consumers.clear()

    @precondition(lambda self: self.requests)
    @rule()
    def broker_takes_request(self) -> None:
        step, tag = self.requests.pop(0)
        if step is SubscriptionStep.CHECK:
            self.answers.append((Signal.FOUND if self.exists else Signal.MISSING, ""))
        elif step is SubscriptionStep.CANCEL:
            self.consumers.discard(tag)
        elif self.exists:
            assert tag not in self.consumers
            self.consumers.add(tag)
            self.answers.append((Signal.CONSUMED, tag))
        else:
            # the queue was deleted after the check: the broker closes the channel, the link reconnects
            was = self.subscription.wanted
            Broker.__init__(self)
            self.exists = False
            self.wish(was)

    @precondition(lambda self: self.answers)
    @rule()
    def broker_answer_arrives(self) -> None:
        signal, tag = self.answers.pop(0)
        if not tag or tag == self.subscription.tag:
            self.signal(signal)

    @precondition(lambda self: self.waits)
    @rule()
    def wait_ends(self) -> None:
        self.waits -= 1
        self.signal(Signal.WAITED)

    @invariant()
    def one_attempt_at_a_time(self) -> None:
        checks = [step for step, _ in self.requests].count(SubscriptionStep.CHECK)
        checks += [signal in {Signal.FOUND, Signal.MISSING} for signal, _ in self.answers].count(
            True
        )
        phase = self.subscription.phase
        assert (checks, self.waits) == (phase is Phase.CHECKING, phase is Phase.WAITING)

    @invariant()
    def rests_only_when_paused(self) -> None:
        assert (self.subscription.phase is Phase.IDLE) <= (not self.subscription.wanted)

    def teardown(self) -> None:
        """When nothing more happens, the queue has the one consumer that is wanted, or none."""
        self.exists = True
        for _ in range(100):
            if self.requests:
                self.broker_takes_request()
            elif self.answers:
                self.broker_answer_arrives()
            elif self.waits:
                self.wait_ends()
        assert (self.requests, self.answers, self.waits) == ([], [], 0)
        wanted = {self.subscription.tag} if self.subscription.wanted else set()
        assert self.consumers == wanted
        assert not (self.subscription.is_lost and self.subscription.wanted)


TestBroker = Broker.TestCase


def test_missing_queue_is_lost_until_its_consumer_is_confirmed() -> None:
    subscription = Subscription("audit")
    seen = []
    for signal in (
        Signal.RESUME,
        Signal.MISSING,
        Signal.WAITED,
        Signal.FOUND,
        Signal.CONSUMED,
        Signal.CANCELLED,
    ):
        subscription, step = after(subscription, signal)
        seen.append((step, subscription.is_lost))
    assert seen == [
        (SubscriptionStep.CHECK, False),
        (SubscriptionStep.WAIT, True),
        (SubscriptionStep.CHECK, True),
        (SubscriptionStep.CONSUME, True),
        (None, False),
        (SubscriptionStep.WAIT, True),
    ]


def test_pause_and_resume_do_not_shorten_a_wait() -> None:
    waiting = Subscription("audit", wanted=True, phase=Phase.WAITING, is_lost=True)
    paused, step = after(waiting, Signal.PAUSE)
    assert step is None
    assert after(paused, Signal.RESUME) == (waiting, None)


@pytest.mark.parametrize("late", [Signal.FOUND, Signal.MISSING, Signal.CANCELLED, Signal.WAITED])
def test_signal_that_comes_too_late_has_no_effect(late: Signal) -> None:
    idle = Subscription("audit")
    assert after(idle, late) == (idle, None)
