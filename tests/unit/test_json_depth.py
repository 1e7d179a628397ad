"""What is nested too deeply, or holds numbers without end, is refused where it is read.

Otherwise a message that one worker can read with the stack that it has left ends another one, or a
command, which has a little less.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ops.doctor.secrets import known_secrets
from producers.call import HookCall, call_from, commands
from producers.notices import notices_from
from producers.settings import ConfigError, read_toml
from schemas import headers
from schemas.commands import Kind
from schemas.envelope import parse
from schemas.errors import MalformedMessageError
from schemas.events import Cause
from schemas.fields import MOST_DEEP, loads
from tests.testbed.messages import MOMENT, command
from workers.audit.heads import head_from
from workers.broker.delivery import history_from
from workers.config.yaml_file import read_yaml
from workers.process.foreign import UnreadableError, read_json
from workers.slurm.run_reporter import recall
from workers.slurm.runs import NOTHING
from workers.tokens.rpc import parse_answer, parse_request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from schemas.envelope import Envelope

ODD = {
    "deep": "[" * 100_000,
    "deep and closed": "[" * 100_000 + "]" * 100_000,
    "as deep as one stack can read": "[" * 960 + "]" * 960,
    "deep objects": '{"a":' * 960 + "1" + "}" * 960,
    "endless number": "1" * 5000,
    "endless exponent": "1e999999",
    "no number": "NaN",
    "half a pair": '"\\ud800"',
}
# PyYAML needs a second for so many brackets in one line
SHORT = {name: odd[:2000] for name, odd in ODD.items()}
CALL = HookCall(Kind.RESUME, "vespa", "node1", 1, "0" * 32, None, None, "controller")


def at_depth(levels: int, call: Callable[[], object]) -> object:
    """The call with a stack that is so much fuller."""
    return call() if levels == 0 else at_depth(levels - 1, call)


def message(odd: str) -> bytes:
    raw = json.loads(command().to_envelope().to_json())
    raw["type"], raw["data"] = "org.example.other.v1", {"x": "ODD"}
    return json.dumps(raw).replace('"ODD"', odd).encode()


def failed_again(text: str) -> Mapping[str, str | int]:
    return history_from({headers.ERRORS: text}).failed(Cause("a", "b"), MOMENT).to_headers()


READERS: dict[str, Callable[[str], object]] = {
    "message": lambda odd: parse(message(odd)).to_json(),
    "failures of a delivery": lambda odd: failed_again(f'[{{"attempt": 1, "x": {odd}}}]'),
    "resume file": lambda odd: commands(
        HookCall(**{**json.loads(CALL.to_json()), "resume_file": f'{{"jobs": [{odd}]}}'})
    ),
    "spooled call": lambda odd: call_from(
        CALL.to_json().replace(b'"controller"', odd.encode())
    ).to_json(),
    "spooled notice": lambda odd: notices_from(f'{{"bodies": [["a", {odd}]]}}'.encode()),
    "head of the audit": lambda odd: head_from(
        f'{{"seq": 1, "hash": "a", "time": "b", "x": {odd}}}'
    ).to_json(),
    "token": lambda odd: parse_answer(
        f'{{"answer": "granted", "token": "t", "hold": 1, "body": {{"x": {odd}}}}}'.encode()
    ),
    "request for a token": lambda odd: parse_request(f'{{"cloud": {odd}}}'.encode()),
    "answer of a service": lambda odd: read_json(f'{{"x": {odd}}}'.encode(), dict[str, object]),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=list(ODD))
@pytest.mark.parametrize("name", READERS)
def test_odd_json_is_a_value_or_a_named_error(name: str, odd: str) -> None:
    with suppress(MalformedMessageError, UnreadableError):
        READERS[name](odd)


@given(st.integers(MOST_DEEP + 1, 980))
@example(960)
def test_what_is_read_in_one_place_can_be_read_and_written_in_all(depth: int) -> None:
    """Also where much of the stack is in use."""
    text = "[" * depth + "]" * depth

    def refused() -> None:
        with pytest.raises(MalformedMessageError, match="nested too deeply"):
            parse(message(text))
        assert b"attempt" in str(failed_again(f'[{{"x": {text}}}]')).encode()
        assert history_from({headers.ERRORS: f'[{{"x": {text}}}]'}).errors == ()

    refused()
    at_depth(200, refused)


def test_a_message_as_deep_as_allowed_can_be_read_and_written_in_all_places() -> None:
    depth = MOST_DEEP - 2  # the message and its data
    body = message("[" * depth + "]" * depth)

    def read() -> Envelope:
        return parse(parse(body).to_json())

    assert read() == at_depth(200, read)
    with pytest.raises(MalformedMessageError, match="nested too deeply"):
        parse(message("[" * (depth + 1) + "]" * (depth + 1)))


@given(st.text() | st.recursive(st.none() | st.floats() | st.integers(), st.lists).map(json.dumps))
def test_any_text_is_a_value_that_can_be_written_or_a_value_error(text: str) -> None:
    for given_ in (text, text.encode()):
        with suppress(ValueError):
            json.dumps(loads(given_), allow_nan=False)


@pytest.mark.parametrize("odd", SHORT.values(), ids=list(SHORT))
def test_odd_files_are_a_value_or_a_named_error(tmp_path: Path, odd: str) -> None:
    file = tmp_path / "file"
    file.write_text(f'{{"x": {odd}}}')
    assert recall(file, NOTHING) == NOTHING
    file.write_text(f"x = {odd}")
    with suppress(ConfigError):
        read_toml(file)
    file.write_text(f"x: {odd}")
    with suppress(ConfigError):
        read_yaml(file, dict[str, object])


@pytest.mark.parametrize(
    "odd",
    [*SHORT.values(), "&a [*a]", "2001-99-99", "!!python/object:os.x {}", "{", "\t- x", "!!int x"],
)
def test_the_secrets_of_a_clouds_yaml_are_found_whatever_else_it_holds(
    tmp_path: Path, odd: str
) -> None:
    """A support bundle masks them."""
    config = tmp_path / "lamplighter.toml"
    config.write_text('[clouds.a]\nclouds_yaml = "clouds.yaml"\n')
    config.chmod(0o600)
    (tmp_path / "clouds.yaml").write_text(
        "clouds:\n  a:\n    auth:\n      password: y4ml-Passw0rd\n"
        f'  b: {{auth: {{"password": "fl0w, Passw0rd", token: pl41n, x: 1}}}}\n  c: {odd}\n'
    )
    found = set(known_secrets(config, {}))
    assert {"y4ml-Passw0rd", "fl0w, Passw0rd", "pl41n"} <= found
