"""What each error of a cloud, a network or the token service means: every row of the one table."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from schemas.commands import Desired
from schemas.events import Cause
from schemas.server import Server
from tests.testbed.pending_nodes import GROUP, TEMPLATE
from workers.clouds.decide import Act, Fail, NodeView, decide
from workers.clouds.errors import (
    NO_ROOM,
    CloudError,
    ImageLostError,
    ImageNotReadyError,
    Then,
    UnreadableAnswerError,
    classify,
)
from workers.clouds.health import GroupRest
from workers.errors import (
    LamplighterError,
    TokenError,
    TokenRefusedError,
    TokenServiceAwayError,
)
from workers.slurm.causes import GROUP_CAUSES, CauseKind, kind_of

QUOTA = "Quota exceeded for instances: Requested 1, but already used 10 of 10 instances"

ANSWERS = [
    (400, "bad_request", Then.REJECT),
    (401, "unauthorized", Then.PARK),
    (402, "refused", Then.REJECT),
    (403, "forbidden", Then.REJECT),
    (404, "not_found", Then.LOOK),
    (405, "refused", Then.REJECT),
    (408, "timeout", Then.PROBE),
    (409, "conflict", Then.LOOK),
    (410, "refused", Then.REJECT),
    (413, "over_limit", Then.SLOW_DOWN),
    (422, "refused", Then.REJECT),
    (429, "over_limit", Then.SLOW_DOWN),
    (500, "server_side", Then.PROBE),
    (501, "server_side", Then.PROBE),
    (502, "server_side", Then.PROBE),
    (503, "server_side", Then.PROBE),
    (504, "server_side", Then.PROBE),
]


@pytest.mark.parametrize(("status", "error", "then"), ANSWERS)
def test_an_answer_is_classed_by_its_status(status: int, error: str, then: Then) -> None:
    verdict = classify(CloudError(status, "so it said"))
    assert (verdict.cause.error, verdict.then) == (error, then)
    assert verdict.cause.message == f"HTTP {status}: so it said"


OTHERS: list[tuple[LamplighterError, str, Then]] = [
    (CloudError(403, QUOTA), "quota", Then.REJECT),
    (CloudError(503, "busy", retry_after=7), "over_limit", Then.SLOW_DOWN),
    (CloudError(None, "reset by peer"), "network", Then.PROBE),
    (CloudError(None, "no answer in 20 s", timed_out=True), "network", Then.PROBE),
    (TokenServiceAwayError("nobody answered"), "token_service_away", Then.HOLD),
    (TokenRefusedError("invalid_grant", "revoked", permanent=True), "invalid_grant", Then.PARK),
    (TokenRefusedError("provider_away", "503", permanent=False), "provider_away", Then.PARK),
    (TokenError("something else"), "token", Then.PARK),
    (LamplighterError("no one knows"), "unknown", Then.PROBE),
]


@pytest.mark.parametrize(("error", "name", "then"), OTHERS)
def test_what_is_no_plain_answer_is_classed_by_its_kind(
    error: LamplighterError, name: str, then: Then
) -> None:
    verdict = classify(error)
    assert (verdict.cause.error, verdict.then) == (name, then)


@pytest.mark.parametrize(
    ("status", "answered"),
    [
        (None, False),
        (408, False),
        (502, False),
        (504, False),
        (500, True),
        (503, True),
        (409, True),
    ],
)
def test_what_a_gateway_or_nobody_has_said_leaves_open_whether_the_call_takes_effect(
    status: int | None,
    answered: bool,  # noqa: FBT001
) -> None:
    assert CloudError(status, "so it said").answered is answered


# The words of Nova, Neutron and Cinder, by what they mean.
NO_ROOM_WORDS = [
    ("quota", QUOTA),
    ("quota", "Maximum number of ports exceeded"),
    ("quota", "Maximum number of fixed IPs exceeded"),
    ("quota", "Maximum number of floating IPs exceeded"),
    ("quota", "Quota exceeded for resources: ['port']."),
    ("quota", "Quota exceeded, too many servers in group"),
    (
        "quota",
        (
            "Build of instance x aborted: VolumeLimitExceeded: Maximum number of volumes allowed (10)"
            " exceeded for quota 'volumes'. (HTTP 413)"
        ),
    ),
    (
        "quota",
        (
            "VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed gigabytes"
            " quota. Requested 20G, quota is 1000G and 990G has been consumed."
        ),
    ),
    ("quota", "PortLimitExceeded"),
    ("quota", "OverQuota"),
    ("quota", "Quota dépassé: 10 sur 10"),
    ("quota", "Volume quota limit of 10 reached"),
    ("no_valid_host", "No valid backend was found. No weighed backends available"),
    ("no_addresses", "No available fixed IPs on network 4711"),
    ("no_valid_host", "No valid host was found. There are not enough hosts available."),
    ("no_valid_host", "Exhausted all hosts available for retrying build failures for instance x."),
    (
        "no_valid_host",
        (
            "Exceeded maximum number of retries. Exhausted all hosts available for retrying build"
            " failures for instance x."
        ),
    ),
    ("no_valid_host", "Insufficient compute resources: Free memory 12.00 MB < requested 512 MB."),
    ("no_addresses", "No more IP addresses available on network 6c12c8d4."),
    ("no_addresses", "No fixed IP addresses available for network: 6c12c8d4"),
    ("no_addresses", "Zero fixed ips available."),
]
AMBIGUOUS = "Multiple possible networks found, use a Network ID to be more specific."


@pytest.mark.parametrize(("error", "words"), NO_ROOM_WORDS)
@pytest.mark.parametrize("status", [400, 403, 409, 413])
def test_no_room_is_no_room_whatever_the_status(error: str, words: str, status: int) -> None:
    assert error in NO_ROOM
    verdict = classify(CloudError(status, words))
    assert (verdict.cause, verdict.then) == (Cause(error, words), Then.REJECT)


@pytest.mark.parametrize(("error", "words"), NO_ROOM_WORDS)
def test_the_fault_of_a_server_in_error_means_the_same(error: str, words: str) -> None:
    """So the group rests too, and no second server is made in vain."""
    server = Server("id-1", "node1", "ERROR", fault=words)
    seen = NodeView((server,), fresh=True, calls={}, waited=0.0, ours=frozenset({"id-1"}))
    group = structs.replace(GROUP, strategy="delete", server=TEMPLATE)
    deletion = decide(Desired.UP, seen, group)
    assert deletion == Act("delete", "id-1", Cause(error, words))
    gone = replace(seen, servers=(), trouble=Cause(error, words), calls={"create": 1, "delete": 1})
    assert decide(Desired.UP, gone, group) == Fail(Cause(error, words))
    assert GroupRest().note("group", Cause(error, words), 60.0, 0.0).message != words
    assert error in GROUP_CAUSES


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (AMBIGUOUS, "name the network"),
        (
            (
                "Multiple security_group matches found for name 'default', use an ID to be more"
                " specific."
            ),
            "give an id instead of the name",
        ),
    ],
)
def test_what_our_template_leaves_open_is_final_and_says_what_to_write(
    words: str, remedy: str
) -> None:
    verdict = classify(CloudError(409, words))
    assert (verdict.cause.error, verdict.then) == ("bad_template", Then.REJECT)
    assert verdict.cause.message.startswith(words)
    assert remedy in verdict.cause.message


@pytest.mark.parametrize(
    ("status", "words", "then"),
    [
        (429, "API rate limit exceeded", Then.SLOW_DOWN),
        (413, "API rate limit exceeded", Then.SLOW_DOWN),
        (413, "This request was rate-limited.", Then.SLOW_DOWN),
        (500, "Quota exceeded for instances", Then.PROBE),
        (503, "No valid host was found", Then.PROBE),
        (404, "Maximum number of ports exceeded", Then.LOOK),
        (401, "quota", Then.PARK),
        (409, "Cannot 'stop' instance x while it is in vm_state stopped", Then.LOOK),
        (403, "Maximum number of metadata items exceeds 128", Then.REJECT),
        (400, "Invalid input for field/attribute quota_class. Value: x", Then.REJECT),
    ],
)
def test_words_change_nothing_where_the_status_says_more(
    status: int, words: str, then: Then
) -> None:
    verdict = classify(CloudError(status, words))
    assert verdict.then is then
    assert verdict.cause.error not in NO_ROOM


def test_an_unreadable_answer_is_the_clouds_trouble_and_may_have_taken_effect() -> None:
    error = UnreadableAnswerError("status: Expected `str`")
    verdict = classify(error)
    assert (verdict.cause.error, verdict.then) == ("unreadable_answer", Then.PROBE)
    assert not error.answered
    assert kind_of(verdict.cause.error) is CauseKind.TRANSIENT


@given(status=st.integers(400, 599), message=st.text(max_size=20), rest=st.none() | st.just(1.0))
def test_only_an_answer_that_blames_the_request_rejects_it(
    status: int, message: str, rest: float | None
) -> None:
    """An outage, however it looks, never leads straight to a dead letter."""
    verdict = classify(CloudError(status, message, retry_after=rest))
    if verdict.then is Then.REJECT:
        assert 400 <= status < 500
        assert status not in {401, 408, 429}
        assert status != 409 or verdict.cause.error != "conflict"


def test_an_image_that_is_being_saved_is_looked_for_again_and_a_lost_one_ends_the_request() -> None:
    waits, lost = classify(ImageNotReadyError("it is saving")), classify(ImageLostError("gone"))
    assert (waits.cause.error, waits.then) == ("image_not_ready", Then.LOOK)
    assert (lost.cause.error, lost.then) == ("image_failed", Then.REJECT)
