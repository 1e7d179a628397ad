"""Dead letters on the console: the same desk as the command's, with the person's name."""

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from ops.around import around
from ops.console.reading import Page
from ops.explain import description
from ops.letters import Choice
from ops.session import Session
from workers.dead_letters.desk import Desk
from workers.dead_letters.letter import Letter
from workers.dead_letters.messages import Operator

_SHOWN = 100
_KEPT = 2.0
_LABEL = 11


class Letters:
    """What a person decides on.

    Args:
        session: the site.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._letters: list[Letter] = []
        self._looked_at = -_KEPT

    def all(self, said: Mapping[str, str]) -> Page:
        """All letters by what they died of, the most frequent first."""
        return self._list(said.get("said", "")[:500], None)

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
        """Replay or discard the chosen letters, of several only once that was confirmed.

        Returns:
            A page; or "" and what to say, once it is done.
        """
        fields = {name: str(value).strip() for name, value in form}
        ids = tuple(sorted({str(value) for name, value in form if name == "id" and value}))
        verb, reason, cause = fields.get("do"), fields.get("reason", "")[:500], fields.get("cause")
        # what dies while somebody thinks was not agreed to
        before = fields.get("before", "")
        before_ns = int(before) if before.isascii() and before.isdecimal() else time.time_ns()
        if verb not in {"replay", "discard"}:
            return self._list("", "Say what to do: replay or discard.")
        if verb == "discard" and not reason:
            return self._list("", "To discard needs a reason; the audit keeps it.")
        if not ids and not cause:
            return self._list("", "Choose letters first.")
        choice = Choice(cause=cause, before=before_ns) if cause else Choice(ids=ids)
        if fields.get("sure") != "yes":
            chosen = choice.of(self._look())
            if len(chosen) > 1:
                return "confirm.html", {
                    "letters": chosen,
                    "verb": verb,
                    "reason": reason,
                    "cause": cause,
                    "before": before_ns,
                }
        return "", {"said": self._do(verb, choice, Operator(f"{person} (console)", reason or None))}

    def _do(self, verb: str, choice: Choice, operator: Operator) -> str:
        act = Desk.replay if verb == "replay" else Desk.discard
        store = self._session.store()
        try:
            with self._session.desk() as desk:
                results = list(act(desk, store, choice.of(desk.letters()), operator))
        finally:
            store.dispose()
            self._looked_at = -_KEPT
        counts = Counter(result.done for result in results)
        refused = next((result.why for result in results if result.why), "")
        told = ", ".join(f"{count} {done}" for done, count in sorted(counts.items()))
        return f"{told or 'No such letter any more'}{f': {refused}' if refused else ''}."

    def _list(self, said: str, problem: str | None) -> Page:
        letters = self._look()
        causes: dict[str, list[Letter]] = {}
        for letter in letters:
            causes.setdefault(letter.cause.error, []).append(letter)
        return "letters.html", {
            "page": "/dead-letters",
            "letters": letters,
            "causes": sorted(causes.items(), key=lambda pair: -len(pair[1])),
            "shown": _SHOWN,
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


def _facts(lines: Sequence[str]) -> list[tuple[str, str]]:
    """A description's lines as names and words; what has no name goes on with the one before."""
    facts: list[tuple[str, str]] = []
    for line in lines:
        name, words = line[:_LABEL].strip(), line[_LABEL:].strip()
        if name or not facts:
            facts.append((name, words))
        else:
            facts[-1] = facts[-1][0], f"{facts[-1][1]}; {words}"
    return facts
