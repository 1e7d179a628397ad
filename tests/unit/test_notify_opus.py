"""What OPUS gets about a job: each end leaves the UWS job in its right phase, and a text is never garbled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Cause
from schemas.jobs import JobEvent, JobTransition
from tests.testbed.messages import MOMENT
from tests.testbed.opus import form_of
from tests.testbed.opus_jobs import opus_job
from tests.testbed.receiver import Got
from tests.testbed.strategies import words
from workers.notify.opus import current_phase, news, question
from workers.notify.verdict import Response
from workers.slurm.runs import ENDED_STATES, GONE
from workers.slurm.uws_jobs import REVOKED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workers.notify.webhook_request import WebhookRequest

ALIVE = ("QUEUED", "EXECUTING", "SUSPENDED", "HELD", "UNKNOWN")


def form(sent: WebhookRequest | None) -> Mapping[str, str]:
    """The form, as OPUS reads it."""
    assert sent is not None
    return form_of(Got("/", sent.headers, sent.body, 0.0))


def finished(state: str, **more: object) -> JobEvent:
    return opus_job(transition=JobTransition.FINISHED, state=state, cause=None, **more)


@pytest.mark.parametrize("state", ["NODE_FAIL", "BOOT_FAIL"])
def test_a_failed_boot_is_an_error_with_the_cause_whatever_the_phase(state: str) -> None:
    job = opus_job(state=state)
    assert question(job) is None
    assert form(news(job, None)) == {
        "jobid": "4711",
        "phase": "ERROR",
        "error_msg": f"{state}: node1 could not be started for this job (quota: used 10 of 10)",
    }


@pytest.mark.parametrize("phase", ALIVE)
@pytest.mark.parametrize("state", [*ENDED_STATES, REVOKED, GONE, "A_NEW_STATE"])
def test_no_end_leaves_a_job_in_a_phase_that_lasts(state: str, phase: str) -> None:
    told = form(news(finished(state), phase))
    expected = {"COMPLETED": "COMPLETED", "CANCELLED": "CANCELLED"}.get(state, "ERROR")
    assert (told["jobid"], told["phase"]) == ("4711", expected)
    assert ("error_msg" in told) is (expected == "ERROR")


@pytest.mark.parametrize("state", [*ENDED_STATES, REVOKED, GONE])
@pytest.mark.parametrize("phase", ["COMPLETED", "ABORTED", "ARCHIVED"])
def test_a_job_that_has_ended_for_opus_is_left_alone(state: str, phase: str) -> None:
    assert news(finished(state), phase) is None


def test_a_job_in_error_keeps_its_cause_and_is_never_completed() -> None:
    """OPUS would turn ERROR into COMPLETED, without results, if it were asked to."""
    for state in ("COMPLETED", "FAILED", "NODE_FAIL", "BOOT_FAIL", REVOKED, GONE):
        assert news(finished(state), "ERROR") is None
    for state in ("TIMEOUT", "OUT_OF_MEMORY", "PREEMPTED", "DEADLINE"):
        told = form(news(finished(state, nodes=()), "ERROR"))
        assert told["error_msg"].startswith(f"{state}: ")
    assert form(news(finished("CANCELLED"), "ERROR"))["phase"] == "CANCELLED"


def test_the_reason_of_each_end_is_said_in_words() -> None:
    for state in {*ENDED_STATES, REVOKED, GONE} - {"COMPLETED", "CANCELLED"}:
        told = form(news(finished(state), "EXECUTING"))["error_msg"]
        assert told.startswith(f"{state}: ")
        assert "the job has ended" not in told


def test_only_a_queued_job_is_suspended_while_its_nodes_cool_down() -> None:
    waiting = opus_job(transition=JobTransition.WAITING, returns_at=MOMENT)
    assert form(news(waiting, "QUEUED")) == {"jobid": "4711", "phase": "SUSPENDED"}
    for phase in ("EXECUTING", "ERROR", "COMPLETED", "ABORTED", "SUSPENDED"):
        assert news(waiting, phase) is None


@pytest.mark.parametrize(
    ("words", "phase"),
    [
        ("<pre>Phase change not allowed: QUEUED --&gt; UNKNOWN</pre>", "QUEUED"),
        ("Job f7 cannot be updated to UNKNOWN while in terminal phase ABORTED", "ABORTED"),
        ("Phase is already UNKNOWN", "UNKNOWN"),
        ("Internal Server Error", None),
        ("", None),
    ],
)
def test_the_refusal_of_the_question_names_the_phase(words: str, phase: str | None) -> None:
    assert current_phase(Response(500, words)) == phase
    assert form(question(finished("FAILED")))["phase"] == "UNKNOWN"


@given(words, st.integers(1, 2**63 - 1))
def test_hostile_text_stays_one_field(text: str, job_id: int) -> None:
    cause = Cause("quota", text + "&phase=COMPLETED\r\n--x\r\nX: y")
    told = form(news(opus_job(job_id=job_id, cause=cause), None))
    assert set(told) == {"jobid", "phase", "error_msg"}
    assert (told["jobid"], told["phase"]) == (str(job_id), "ERROR")
    assert told["error_msg"].isprintable()
    assert len(told["error_msg"]) <= 400


def test_words_of_any_language_survive() -> None:
    cause = Cause("quota", "Quota dépassé: Łódź, 配額 €")
    told = form(news(opus_job(cause=cause), None))
    assert "(quota: Quota dépassé: Łódź, 配額 €)" in told["error_msg"]
