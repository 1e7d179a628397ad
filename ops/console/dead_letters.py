"""Dead letters on the console: the same desk as the command's, with the person's name."""

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ops.cli.session import Session
from ops.console.pages import Page
from ops.dead_letters.context import around, stored_nodes
from ops.dead_letters.describe import description, is_stale
from ops.dead_letters.groups import alike, group
from ops.dead_letters.select import Choice, Places
from workers.dead_letters.letter import Letter
from workers.dead_letters.messages import Operator
from workers.dead_letters.queue import DeadLetterQueue

_SHOWN = 100
# So many letters of one trouble are shown at once, more when they are asked for.
_FEW = 5
_KEPT = 2.0
_LABEL = 11


class DeadLetterPages:
    """What a person decides on.

    Args:
        session: the site.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._letters: list[Letter] = []
        self._looked_at = -_KEPT
        # not in the address, where anybody's link could say it
        self._done: dict[str, str] = {}

    def all(self, person: str) -> Page:
        """All letters by what they died of, the most frequent first; and what this person has just done."""
        return self._list(self._done.pop(person, ""), None)

    def one(self, id_: str, *, whole: bool) -> Page:
        """One letter, and what a replay would do.

        Args:
            id_: its id, or how that begins.
            whole: whether Slurm and the cloud are asked too; not at the word of just anybody.

        Raises:
            LookupError: nobody waits under that id.
        """
        named = Choice(ids=(id_,))
        found = named.of(self._look()) or named.of(self._look(fresh=True))
        if not found:
            raise LookupError(
                "That letter is no longer there: somebody has decided, or is deciding."
            )
        command = found[0].command
        known = around(self._session, command, whole=whole)
        lines = description(found[0], known, time.time_ns())
        return "letter.html", {"letter": found[0], "facts": _facts(lines)}

    def act(self, person: str, form: Sequence[tuple[str, object]]) -> Page:
        """Replay or discard letters, of several only once that was confirmed.

        Returns:
            A page; or "", once it is done: `all` will say so.
        """
        fields = {name: str(value).strip() for name, value in form}
        wanted = _wanted(form, fields)
        if wanted.verb not in {"replay", "discard"}:
            return self._list("", "Say what to do: replay or discard.")
        if wanted.choice.everything:
            return self._list("", "Choose letters first.")
        unexplained = wanted.verb == "discard" and not wanted.reason
        sure = fields.get("sure") == "yes"
        if not sure or unexplained:
            chosen = wanted.of(self._look(fresh=True))
            if not chosen:
                return self._list("", "No such letter any more.")
            if len(chosen) > 1 or unexplained:
                problem = "To discard needs a reason; the audit keeps it." if sure else None
                return self._confirm(wanted, chosen, problem)
        operator = Operator(f"{person} (console)", wanted.reason or None)
        self._done[person] = self._do(wanted, operator)
        return "", {}

    def _confirm(self, wanted: "_Wanted", chosen: Sequence[Letter], problem: str | None) -> Page:
        commands = [letter.command for letter in chosen if letter.command]
        known = stored_nodes(self._session, (command.node for command in commands), [])
        return "confirm.html", {
            "wanted": wanted,
            "letters": chosen,
            "stale": sum(is_stale(command, known.get(command.node)) for command in commands),
            "problem": problem,
        }

    def _do(self, wanted: "_Wanted", operator: Operator) -> str:
        act = DeadLetterQueue.replay if wanted.verb == "replay" else DeadLetterQueue.discard
        store = self._session.store()
        try:
            with self._session.desk() as desk:
                results = list(act(desk, store, wanted.of(desk.letters()), operator))
        finally:
            store.dispose()
            self._looked_at = -_KEPT
        counts = Counter(result.done for result in results)
        refused = next((result.why for result in results if result.why), "")
        told = ", ".join(f"{count} {done}" for done, count in sorted(counts.items()))
        return f"{told or 'No such letter any more'}{f': {refused}' if refused else ''}."

    def _list(self, said: str, problem: str | None) -> Page:
        letters = self._look()
        places = Places.of(self._session.settings)
        return "letters.html", {
            "page": "/dead-letters",
            "letters": letters,
            "troubles": [
                (trouble, group(trouble[0], members), members)
                for trouble, members in alike(letters, "cause", places)
            ],
            "now": time.time_ns(),
            "shown": _SHOWN,
            "few": _FEW,
            "said": said,
            "problem": problem,
        }

    def _look(self, *, fresh: bool = False) -> list[Letter]:
        """All letters, given back at once; of many who look in the same moment, one takes them."""
        with self._lock:
            if fresh or time.monotonic() - self._looked_at > _KEPT:
                with self._session.desk() as desk:
                    self._letters = desk.letters()
                self._looked_at = time.monotonic()
            return self._letters


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a form asks for: letters by their ids, or all of one trouble that died before a moment."""

    verb: str
    reason: str
    choice: Choice
    before: int

    def of(self, letters: Sequence[Letter]) -> list[Letter]:
        """Which it asks for."""
        # what dies while somebody thinks was not agreed to
        return [x for x in self.choice.of(letters) if (x.died_at or 0) < self.before]


def _wanted(form: Sequence[tuple[str, object]], fields: Mapping[str, str]) -> _Wanted:
    verb, _, scope = fields.get("do", "").partition(" ")
    before = fields.get("before", "")
    if scope == "all":
        choice = Choice(trouble=(fields.get("error", ""), fields.get("like", "")))
    else:
        ids = {str(value) for name, value in form if name == "id" and value}
        choice = Choice(ids=tuple(sorted(ids)))
    return _Wanted(
        verb,
        fields.get("reason", "")[:500],
        choice,
        int(before) if before.isascii() and before.isdecimal() else time.time_ns(),
    )


def _facts(lines: Sequence[str]) -> list[tuple[str, str]]:
    """A description's lines as names and words; what has no name goes on with the one before."""
    facts: list[tuple[str, str]] = []
    for line in lines:
        name, words = line[:_LABEL].strip(), line[_LABEL:].strip()
        if name == "cause":  # the page's first words
            continue
        if name or not facts:
            facts.append((name, words))
        else:
            facts[-1] = facts[-1][0], f"{facts[-1][1]}; {words}"
    return facts
