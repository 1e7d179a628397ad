"""Numbers that JSON lacks never leave: not by a command with --json, an export, nor the console's stream."""

from __future__ import annotations

import ast
import json
import math
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn

import pytest

from ops.audit.export import cloud_event
from ops.cli.terminal import json_line
from schemas.events import Transition
from tests.testbed.auditlog import entry_of
from tests.testbed.messages import event

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
# They write no such JSON: a value of TOML, a value shown to people, an answer to be parsed, a file of our own
# words for rabbitmqctl.
ELSEWHERE = {
    "ops/install/toml.py",
    "ops/site/config.py",
    "ops/doctor/roles.py",
    "ops/site/broker_users.py",
}
WRITER = "ops/cli/terminal.py"


def strict(text: str) -> object:
    """Parse JSON as its standard has it (RFC 8259)."""

    def refuse(word: str) -> NoReturn:
        raise ValueError(word)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize(
    ("shape", "kept"),
    [
        (lambda x: {"a": x}, {"a": None}),
        (lambda x: {"a": [1.5, x, "NaN"]}, {"a": [1.5, None, "NaN"]}),
        (lambda x: {"a": {"b": ({"c": x, "d": 2},)}}, {"a": {"b": [{"c": None, "d": 2}]}}),
        (lambda x: MappingProxyType({"a": {"b": x}}) | {"c": True}, {"a": {"b": None}, "c": True}),
    ],
    ids=["field", "list", "nested", "mapping"],
)
def test_numbers_that_json_lacks_are_null_and_the_rest_stays(
    shape: object, kept: Mapping[str, object], number: float
) -> None:
    assert callable(shape)
    assert strict(json_line(shape(number))) == kept


def test_a_record_whose_body_has_such_numbers_is_exported_as_json() -> None:
    """Bodies are checked when they come; what somebody writes into the store is not."""
    body = entry_of(event(Transition.COMPLETED)).body.replace(
        b'"data":{', b'"data":{"x":NaN,"y":[1e999,-1e999],', 1
    )
    assert body.count(b"NaN") == 1
    found = strict(
        json_line(cloud_event(replace(entry_of(event(Transition.COMPLETED)), body=body), b""))
    )
    assert isinstance(found, dict)
    assert (found["data"]["x"], found["data"]["y"]) == (None, [None, None])


def test_the_sender_in_an_export_is_the_logs_never_the_messages() -> None:
    """A message without a sender that the broker has validated cannot claim one by an attribute of its own."""
    known = entry_of(event(Transition.COMPLETED))
    claims = json.loads(known.body) | {"auditsender": "alice", "auditseq": "7"}
    entry = replace(known, body=json.dumps(claims).encode())
    assert "auditsender" not in cloud_event(replace(entry, sender=None), b"")
    assert cloud_event(replace(entry, sender="bert"), b"")["auditsender"] == "bert"
    assert cloud_event(entry, b"")["auditseq"] == str(entry.seq)


def test_all_json_of_commands_and_console_has_one_writer() -> None:
    """Whatever else in ops/ made JSON could let such a number out; no library makes it either."""
    makers = set()
    for path in sorted((ROOT / "ops").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in {"dumps", "dump", "encode"}:
                whose = ast.unparse(node.value)
                if whose == "json" or whose.startswith("msgspec.json"):
                    makers.add(str(path.relative_to(ROOT)))
            elif isinstance(node, ast.Name) and node.id in {"JSONResponse", "dumps"}:
                makers.add(str(path.relative_to(ROOT)))
    assert makers == ELSEWHERE | {WRITER}
