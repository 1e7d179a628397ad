"""Each finding says why it matters: its kind does, and a kind without it cannot be made."""

from __future__ import annotations

import ast
import re
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ops.install.slurm_rules import rules
from ops.site.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
SOURCES = [path for path in (ROOT / "ops").rglob("*.py") if path.name != "kinds.py"]
# What only the source knows: a stranger reads `why`.
INSIDES = re.compile(r"\b(desired state|generation|heartbeat|vhost|exchange|topolog|lease)")


def test_a_kind_without_a_reason_cannot_be_made() -> None:
    """And mypy takes nothing else than a kind for a finding."""
    make: Callable[..., Kind] = vars(Kind)["_new_member_"]  # as enum calls it
    with pytest.raises(TypeError, match="why"):
        make(Kind, "new")


@pytest.fixture(scope="module")
def calls() -> list[ast.Call]:
    """All calls in the commands' code."""
    nodes = (node for path in SOURCES for node in ast.walk(ast.parse(path.read_text())))
    return [node for node in nodes if isinstance(node, ast.Call)]


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_says_why_it_matters_in_words_of_its_own(
    kind: Kind, calls: list[ast.Call]
) -> None:
    assert len(kind.why.split()) >= 6
    assert not INSIDES.search(kind.why)
    assert kind.why[-1] not in ".;:"
    assert kind.why[0].islower() or kind.why.startswith(("Slurm", "Lamplighter"))
    words = " ".join(told_of(kind, calls)).lower()
    assert kind.why.lower() not in words
    shared = longest_run(kind.why.lower().split(), words.split())
    assert shared < 5, f"{kind.why!r} repeats what is found: {words}"


# Of the prolog: nothing is to be done where it is in use.
NOTHING_TO_DO = {"PROLOG", "PROLOG_SLOTS"}


def test_every_finding_has_a_remedy_also_when_a_part_does_not_answer(
    calls: list[ast.Call],
) -> None:
    """In the whole code: none is made without one, but for notes after which nothing is to be done.

    `Finding` has no default for it, so that mypy asks each caller.
    """
    made = [call for call in calls if getattr(call.func, "id", "") in {"Finding", "wrong"}]
    assert len(made) > len(Kind)
    without = [ast.unparse(call) for call in made if not has_remedy(call)]
    assert without == []


def has_remedy(call: ast.Call) -> bool:
    first = 0 if getattr(call.func, "id", "") == "wrong" else 1
    kind, _, remedy = call.args[first : first + 3]
    is_note = ast.unparse(call.args[0]) == "Severity.NOTE"
    if is_note and getattr(kind, "attr", "") in NOTHING_TO_DO:
        return True
    return not any(isinstance(part, ast.Constant) and not part.value for part in values(remedy))


def values(remedy: ast.expr) -> list[ast.expr]:
    """What an expression may yield."""
    if isinstance(remedy, ast.IfExp):
        return [*values(remedy.body), *values(remedy.orelse)]
    return [remedy]


def told_of(kind: Kind, calls: list[ast.Call]) -> list[str]:
    """The constant parts of the words in the statements that make a finding of this kind."""
    told = [one.why for one in rules(600, prolog=True) if one.key == kind]
    parts = (part for call in calls if named(kind, call) for part in ast.walk(call))
    constants = (part.value for part in parts if isinstance(part, ast.Constant))
    return told + [value for value in constants if isinstance(value, str)]


def named(kind: Kind, call: ast.Call) -> bool:
    return any(isinstance(one, ast.Attribute) and one.attr == kind.name for one in call.args)


def longest_run(first: list[str], second: list[str]) -> int:
    """The most words in a row that both have."""
    match = SequenceMatcher(None, first, second, autojunk=False).find_longest_match()
    return match.size


def test_each_kind_is_used() -> None:
    text = "".join(path.read_text() for path in SOURCES)
    of_rules = {one.key for one in rules(600, prolog=True)}
    assert [kind for kind in Kind if f"Kind.{kind.name}" not in text and kind not in of_rules] == []


def test_each_rule_about_slurm_has_its_kind() -> None:
    """Where `init` looks for rules, there are no kinds: it knows them by name."""
    assert {one.key.upper() for one in rules(600, prolog=True)} <= set(Kind.__members__)
