"""Option types (each reads a text, or says what to write instead), and options that commands share."""

import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeAlias

import click

from ops.cli.terminal import plain
from producers.hosts import expand
from schemas.errors import MalformedMessageError
from schemas.fields import shown
from schemas.numbers import MOST, whole_number

CommandFunction: TypeAlias = Callable[..., Any]
CommandDecorator: TypeAlias = Callable[[CommandFunction], CommandFunction]

_LENGTH = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) *(s|min|m|h|d|w)")
# A task of an array (4711_3, 4711_[1-9]), or a component of a heterogeneous job (4711+1).
_PART_OF_JOB = re.compile(r"[0-9]{1,10}(?:_[0-9]{1,10}|\+[0-9]{1,10})")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_NS = 1_000_000_000
_LONGEST_NAME = 255

# Every table of nodes shows the reason of a hold.
LONGEST_REASON = 500


def reason(text: str) -> str:
    """Read why something is done; an empty variable of a shell is not a reason."""
    if not 1 <= len(found := text.strip()) <= LONGEST_REASON:
        raise click.BadParameter(f"write why, in 1 to {LONGEST_REASON} characters")
    return found


reason_option = click.option("--reason", type=reason, help="Reason; recorded in the audit log.")
required_reason_option = click.option(
    "--reason", required=True, type=reason, help="Reason; recorded in the audit log."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def confirm(what: str, *, yes: bool) -> None:
    """Ask whether to do `what`, unless --yes was given.

    Raises:
        click.Abort: the answer is no.
        click.UsageError: nobody can answer.
    """
    if yes:
        return
    question = plain(what)
    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError(
            f"{question}? There is no terminal to answer on: repeat the command with --yes"
        )
    click.confirm(f"{question}?", abort=True, err=True)


def combine(*options: CommandDecorator) -> CommandDecorator:
    """One decorator for several options; the help lists the last one first."""

    def decorate(command: CommandFunction) -> CommandFunction:
        for option in options:
            command = option(command)
        return command

    return decorate


def json_option(per: str = "") -> CommandDecorator:
    """The option --json of a command that prints one object, or one object per `per`."""
    text = f"Print one JSON object per {per}." if per else "Print one JSON object."
    return click.option("--json", "as_json", is_flag=True, help=text)


def job_id(text: str) -> int:
    """Read the number of a job; Lamplighter knows tasks of arrays and components by it too."""
    number = whole_number(text, least=1, most=2**32 - 1)
    if number is not None:
        return number
    if _PART_OF_JOB.fullmatch(text):
        raise click.BadParameter(
            f"{text} is part of a job, and has a job number of its own; give the one that is printed "
            f"by: squeue --noheader --states=all --jobs={text} --format=%A"
        )
    raise click.BadParameter(f"{shown(text)} is not the number of a job; write it as squeue -o %A")


def count(least: int) -> Callable[[str | int], int]:
    """The type of an option with a whole number, from `least` on."""

    def integer(value: str | int) -> int:  # a default is a number already
        number = whole_number(str(value), least)
        if number is None:
            raise click.BadParameter(f"{shown(value)} is not a whole number of at least {least}")
        return number

    return integer


def length(text: str) -> int:
    """Read a length of time, such as 90s, 15m, 2h or 3d: nanoseconds."""
    found = _LENGTH.fullmatch(text.strip())
    if found is None:
        raise click.BadParameter(f"{text!r} is not a length of time; write 90s, 15m, 2h or 3d")
    return int(float(found[1]) * _SECONDS[found[2]] * _NS)


def when(text: str) -> int:
    """Read a time, ISO 8601 (UTC by default) or a length of time before now: ns since the epoch."""
    try:
        if _LENGTH.fullmatch(text.strip()):
            found = time.time_ns() - length(text)
        else:
            moment = datetime.fromisoformat(text)
            aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            found = int(aware.timestamp() * 1_000_000) * 1000
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is not a time; write 2026-11-24T08:30:00Z, or 2h for two hours ago"
        ) from None
    if not 0 <= found <= MOST:
        raise click.BadParameter(f"{text!r} is not between the years 1970 and 2262")
    return found


def image_name(text: str) -> str:
    """Read the name of an image, as Nova accepts it."""
    if not text.isprintable() or not 1 <= len(text) <= _LONGEST_NAME or text != text.strip():
        raise click.BadParameter(
            f"{text[:40]!r} is not a valid image name; write 1 to {_LONGEST_NAME} printable characters"
        )
    return text


def hostlist(text: str) -> tuple[str, ...]:
    """Read the nodes of a hostlist expression, such as node[1-3]."""
    try:
        return tuple(expand(text))
    except MalformedMessageError as error:
        raise click.BadParameter(str(error)) from None
