"""Real messages match schemas/json, and any CloudEvents library can read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from cloudevents.core.formats.json import JSONFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

from schemas.commands import Kind, PowerCommand, parse_command
from schemas.envelope import parse
from schemas.errors import MalformedMessageError
from schemas.events import RequestEvent, Transition, event_from
from schemas.jobs import JobEvent, JobTransition, job_event_from
from schemas.notices import FAMILIES, Notice, notice_from
from schemas.registrations import TYPE as REGISTERED
from schemas.registrations import Registration, registration_from
from schemas.snapshot import TYPE as SNAPSHOT
from schemas.snapshot import Snapshot, parse_snapshot
from tests.testbed.messages import command, event
from tests.testbed.strategies import (
    commands,
    events,
    job_events,
    json_values,
    notices,
    registrations,
    snapshots,
)
from tests.unit.test_schemas_messages import changed
from workers.tokens.rpc import TokenGrant, TokenRefusal, TokenReport, TokenRequest, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.envelope import Envelope

FOLDER = Path(__file__).parents[2] / "schemas" / "json"
FILES = {path.name: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}
REGISTRY: Registry[Any] = Registry().with_resources(
    (name, Resource.from_contents(content)) for name, content in FILES.items()
)
TYPES = [*(named.type for named in (*Kind, *Transition, *JobTransition)), SNAPSHOT, REGISTERED]
AnyMessage: TypeAlias = PowerCommand | RequestEvent | JobEvent | Notice | Registration | Snapshot
ANY_MESSAGE = commands | events | job_events | notices | registrations | snapshots


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(
        {"$schema": Draft202012Validator.META_SCHEMA["$id"], "$ref": name},
        registry=REGISTRY,
        format_checker=FormatChecker(),
    )


VALIDATORS = {name: validator(name) for name in FILES}


def validator_of(type_: str) -> Draft202012Validator:
    """The validator of a CloudEvents type; notices share one."""
    return VALIDATORS.get(
        f"{type_.removeprefix('lamplighter.')}.json", VALIDATORS["notice.v1.json"]
    )


def violations(type_: str, body: bytes) -> list[str]:
    return [error.message for error in validator_of(type_).iter_errors(json.loads(body))]


@pytest.mark.parametrize("name", FILES)
def test_each_schema_is_valid_and_has_a_title(name: str) -> None:
    Draft202012Validator.check_schema(FILES[name])
    assert FILES[name]["title"]


def test_each_type_has_its_own_schema_and_no_schema_is_unused() -> None:
    others = {"common.json", "notice.v1.json", "token.request.json", "token.answer.json"}
    assert set(FILES) - others == {f"{t.removeprefix('lamplighter.')}.json" for t in TYPES}


@given(ANY_MESSAGE)
def test_every_message_matches_its_schema(message: AnyMessage) -> None:
    envelope = message.to_envelope()
    assert violations(envelope.type, envelope.to_json()) == []


@given(ANY_MESSAGE)
def test_the_cloudevents_library_reads_every_message(message: AnyMessage) -> None:
    envelope = message.to_envelope()
    read = JSONFormat().read(None, envelope.to_json())
    assert (read.get_id(), read.get_source(), read.get_type(), read.get_subject()) == (
        envelope.id,
        envelope.source,
        envelope.type,
        envelope.subject,
    )
    assert read.get_specversion() == "1.0"
    assert read.get_extension("generation") == str(envelope.generation)
    assert read.get_extension("correlationid") == envelope.correlation_id
    assert read.get_data() == json.loads(json.dumps(envelope.data))


READERS: dict[type, Callable[[bytes], object]] = {
    PowerCommand: parse_command,
    RequestEvent: lambda body: event_from(parse(body)),
    JobEvent: lambda body: job_event_from(parse(body)),
    Notice: lambda body: notice_from(parse(body)),
    Registration: lambda body: registration_from(parse(body)),
    Snapshot: parse_snapshot,
}


@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow])
@given(ANY_MESSAGE, st.data())
def test_the_schema_accepts_what_our_parser_accepts(
    message: AnyMessage, data: st.DataObject
) -> None:
    body = changed(message.to_envelope(), data)
    try:
        READERS[type(message)](body)
    except MalformedMessageError:
        return
    assert violations(json.loads(body)["type"], body) == []


@pytest.mark.parametrize("whole", [command().to_envelope(), event(Transition.FAILED).to_envelope()])
@given(value=json_values)
def test_our_parser_rejects_what_the_schema_rejects(whole: Envelope, value: object) -> None:
    raw = json.loads(whole.to_json())
    read = READERS[PowerCommand if whole.type.endswith("requested.v1") else RequestEvent]
    for name in list(raw):
        body = json.dumps({**raw, name: value}).encode()
        if violations(whole.type, body):
            with pytest.raises(MalformedMessageError):
                read(body)


@pytest.mark.parametrize(
    ("message", "schema"),
    [
        (TokenRequest("one"), "token.request.json"),
        (TokenRequest("one", refused="0" * 64), "token.request.json"),
        (TokenRequest("one", look=True), "token.request.json"),
        (TokenRequest("one", revoke=True), "token.request.json"),
        (TokenGrant("secret", {"token": {}}, 300.0), "token.answer.json"),
        (TokenRefusal("invalid_grant", "expired", permanent=True), "token.answer.json"),
        (TokenReport(), "token.answer.json"),
        (TokenReport(60.0, "expired", "log in again"), "token.answer.json"),
    ],
)
def test_token_messages_match_their_schemas(
    message: TokenRequest | TokenGrant | TokenRefusal | TokenReport, schema: str
) -> None:
    VALIDATORS[schema].validate(json.loads(encode(message)))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_schema_knows_every_family_of_notices(family: str) -> None:
    notice = Notice(f"{family}said", "c", "s", "k", 0, "", "", {})
    assert violations(notice.to_envelope().type, notice.to_envelope().to_json()) == []
