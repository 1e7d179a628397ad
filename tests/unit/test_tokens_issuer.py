"""Tests of an issuer with a scripted source and a fixed clock."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import structlog.testing

from tests.testbed.waiting import until
from workers.tokens.errors import SourceError, away, revoked
from workers.tokens.issuer import Issuer
from workers.tokens.rpc import Answer, TokenGrant, TokenRefusal, TokenReport
from workers.tokens.scoped import ScopedToken
from workers.tokens.source import Source
from workers.tokens.upkeep import TokenExpiry, Upkeep

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HOUR = 3600.0
INVALID_GRANT = SourceError("invalid_grant", "revoked", permanent=True, remedy="log in again")


class ScriptedSource(Source):
    """Numbers its tokens from 1; raises `trouble` if set; `gate` blocks each fetch."""

    def __init__(self, life: float = HOUR) -> None:
        self.life = life
        self.fetches = 0
        self.trouble: Exception | None = None
        self.file = "file 1"
        self.due = Upkeep()
        self.upkeeps = 0
        self.gate = threading.Event()
        self.gate.set()
        self.revoked: frozenset[str] = frozenset()
        self.ended: list[str] = []

    def revocations(self) -> frozenset[str]:
        return self.revoked

    def forget(self, tokens: Iterable[ScopedToken]) -> list[str]:
        self.ended += [token.id for token in tokens]
        return []

    def fetch(self) -> ScopedToken:
        self.fetches += 1
        number = self.fetches
        assert self.gate.wait(20)
        if self.trouble is not None:
            raise self.trouble
        return ScopedToken(id=f"token {number}", body={"token": {}}, life=self.life)

    def fingerprint(self) -> str:
        return self.file

    def upkeep(self, now: int) -> Upkeep:
        assert now > 0
        self.upkeeps += 1
        return self.due


class Bench:
    """An issuer with its surroundings."""

    def __init__(self, life: float = HOUR) -> None:
        self.now = 0.0
        self.source = ScriptedSource(life)
        self.alarms: list[SourceError] = []
        self.keys: list[str] = []
        self.issuer = Issuer(
            "one", self.source, alarm=self.alarm, longest_wait=6.0, clock=lambda: self.now
        )

    def alarm(self, key: str, error: SourceError) -> None:
        self.keys.append(key)
        self.alarms.append(error)

    def request_later(self, refused: str | None = None) -> list[Answer]:
        answers: list[Answer] = []
        self.issuer.request(refused, answers.append)
        return answers

    def request(self, refused: str | None = None) -> Answer:
        answers = self.request_later(refused)
        return until(lambda: answers, 20.0, "an answer", interval=0.001)[0]

    def tick(self) -> None:
        """Run a tick and wait until its work is done."""
        self.issuer.tick()
        until(lambda: not self.issuer.busy, 20.0, "what is due", interval=0.0001)

    def token(self) -> str:
        answer = self.request()
        assert isinstance(answer, TokenGrant)
        return answer.token

    def error(self) -> str:
        answer = self.request()
        assert isinstance(answer, TokenRefusal)
        return answer.error


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.source.gate.set()
    made.issuer.close()


def test_concurrent_requests_share_one_fetch(bench: Bench) -> None:
    bench.source.gate.clear()
    requests = [bench.request_later() for _ in range(100)]
    bench.source.gate.set()
    until(lambda: all(requests), 20.0, "all answers")
    assert bench.source.fetches == 1
    assert bench.token() == "token 1"


def test_slow_login_is_reported_before_the_client_times_out_and_continues(bench: Bench) -> None:
    bench.source.gate.clear()
    late = bench.request_later()
    bench.now = 5.9
    bench.issuer.tick()
    assert not late
    bench.now = 6.0
    bench.issuer.tick()
    assert isinstance(late[0], TokenRefusal)
    assert (late[0].error, late[0].permanent) == ("provider_away", False)
    patient = bench.request_later()
    bench.source.gate.set()
    until(lambda: patient, 20.0, "the answer")
    assert isinstance(patient[0], TokenGrant)
    assert bench.source.fetches == 1
    assert len(late) == 1, "each request is answered once"


def test_revoked_token_is_replaced_once_for_many_complaints(bench: Bench) -> None:
    first = bench.request()
    assert isinstance(first, TokenGrant)
    digest = ScopedToken(first.token, {}, HOUR).digest
    bench.source.gate.clear()
    requests = [bench.request_later(digest) for _ in range(50)]
    bench.source.gate.set()
    until(lambda: all(requests), 20.0, "all answers")
    assert {
        answer.token for answers in requests for answer in answers if isinstance(answer, TokenGrant)
    }
    late = bench.request(digest)
    assert isinstance(late, TokenGrant)
    assert late.token == "token 2"
    assert bench.source.fetches == 2


def test_a_token_is_dropped_and_ended_when_another_token_service_has_revoked_the_login(
    bench: Bench,
) -> None:
    bench.source.revoked = frozenset({"an old one"})
    bench.tick()
    assert bench.token() == "token 1"
    bench.now += HOUR / 4
    bench.tick()
    assert bench.token() == "token 1", "nothing is new"
    bench.source.revoked |= {"a new one"}
    bench.source.trouble = revoked("file x")
    bench.now += HOUR / 4
    bench.tick()
    assert bench.source.ended == ["token 1"]
    assert bench.error() == "revoked"


def test_a_revoked_login_is_one_alarm_however_often_its_file_is_written(bench: Bench) -> None:
    bench.source.trouble = revoked("file x")
    for number in range(10):
        bench.source.file = f"file {number}"
        assert bench.error() == "revoked"
    assert [alarm.error for alarm in bench.alarms] == ["revoked"]


def test_invalid_grant_costs_one_fetch_and_one_alarm(bench: Bench) -> None:
    bench.source.trouble = INVALID_GRANT
    for hour in range(100):
        bench.now = hour * HOUR
        assert bench.error() == "invalid_grant"
        bench.issuer.tick()
    assert bench.source.fetches == 1
    assert [alarm.error for alarm in bench.alarms] == ["invalid_grant"]

    bench.source.file, bench.source.trouble = "file 2", None
    assert bench.token() == "token 2", "a new file is tried at once"


def test_same_error_after_a_success_is_a_new_alarm(bench: Bench) -> None:
    bench.source.trouble = INVALID_GRANT
    bench.error()
    bench.source.file, bench.source.trouble = "file 2", None
    bench.token()
    bench.now += HOUR
    bench.source.trouble = INVALID_GRANT
    bench.error()
    assert len(bench.alarms) == 2


def test_outage_is_answered_from_memory_between_retries(bench: Bench) -> None:
    bench.source.trouble = away("503")
    for step in range(600):
        bench.now = step / 10
        assert bench.error() == "provider_away"
    assert bench.source.fetches <= 9, "1, 2, 4, ... seconds apart, at least half of each"
    bench.source.trouble = None
    bench.now += 61
    bench.token()


def test_outage_at_renewal_has_no_effect_while_the_token_lasts(bench: Bench) -> None:
    assert bench.token() == "token 1"
    bench.source.trouble = away("503")
    bench.now = HOUR - 350  # past the time to renew, before the floor
    while bench.now < HOUR - 300:
        bench.tick()
        assert bench.token() == "token 1"
        bench.now += 1
    assert bench.source.fetches > 1


def test_unused_token_is_not_renewed(bench: Bench) -> None:
    bench.token()
    for _ in range(24):
        bench.now += HOUR / 2
        bench.tick()
    assert bench.source.fetches == 2, "only the used token has a successor"


@pytest.mark.slow
def test_day_costs_one_login_per_token_life_for_any_number_of_workers() -> None:
    """A worker requests a token when its hold has ended, and never waits or fails."""
    logins = {}
    for workers in (1, 4, 8):
        bench = Bench()
        holds = [0.0] * workers
        while bench.now < 24 * HOUR:
            bench.tick()
            for worker, ends in enumerate(holds):
                if bench.now >= ends:
                    answer = bench.request()
                    assert isinstance(answer, TokenGrant)
                    assert answer.hold > 60
                    holds[worker] = bench.now + answer.hold
            bench.now += 10
        bench.issuer.close()
        logins[workers] = bench.source.fetches
    least = 24 * HOUR / HOUR
    for count in logins.values():
        assert least <= count <= least * HOUR / (HOUR - 1.7 * 300) + 1


def test_idle_login_is_used_once_when_due(bench: Bench) -> None:
    bench.source.due = Upkeep(use=True)
    bench.tick()
    assert bench.source.fetches == 1
    bench.source.due = Upkeep()
    for _ in range(10):
        bench.now += HOUR / 2
        bench.tick()
    assert bench.source.fetches == 1
    assert bench.source.upkeeps == 6, "once an hour"


def test_upkeep_does_not_repeat_a_permanent_error(bench: Bench) -> None:
    bench.source.due, bench.source.trouble = Upkeep(use=True), INVALID_GRANT
    for _ in range(10):
        bench.now += HOUR
        bench.tick()
    assert bench.source.fetches == 1
    assert len(bench.alarms) == 1


def test_each_expiry_warning_is_sent_once(bench: Bench) -> None:
    for days in (30, 30, 30, 14, 14, 7):
        soon = SourceError("login_ends", f"in {days} days", remedy="log in again")
        bench.source.due = Upkeep(expiry=TokenExpiry(f"{days} days", soon))
        bench.tick()
        bench.now += HOUR
    assert bench.keys == ["30 days", "14 days", "7 days"]


def test_bug_in_a_source_is_answered_without_a_secret(bench: Bench) -> None:
    bench.source.trouble = RuntimeError("the secret is swordfish")
    with structlog.testing.capture_logs() as logs:
        answer = bench.request()
    assert isinstance(answer, TokenRefusal)
    assert answer.error == "internal"
    assert "swordfish" not in f"{answer}{logs}"


def test_report_shows_the_state_without_a_fetch(bench: Bench) -> None:
    assert bench.issuer.report() == TokenReport()
    assert bench.source.fetches == 0
    bench.token()
    assert bench.issuer.report() == TokenReport(left=HOUR - 300)
    bench.now = HOUR - 200
    assert bench.issuer.report() == TokenReport(), "the rest of its life is not served"
    bench.source.trouble = INVALID_GRANT
    assert bench.error() == "invalid_grant"
    assert bench.issuer.report() == TokenReport(
        trouble="invalid_grant: revoked", remedy=INVALID_GRANT.remedy
    )
    bench.source.trouble, bench.source.file = None, "file 2"
    bench.token()
    assert bench.issuer.report().trouble is None
