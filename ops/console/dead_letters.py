"""The pages of the dead letters: list, show, and replay or discard them in the user's name."""

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ops.cli.options import LONGEST_REASON
from ops.cli.session import Session
from ops.console.pages import Page
from ops.dead_letters.context import look_up_context, stale_letters
from ops.dead_letters.describe import describe
from ops.dead_letters.groups import group_letters, letter_group
from ops.dead_letters.letter import Letter
from ops.dead_letters.messages import Operator
from ops.dead_letters.queue import DeadLetterQueue, dead_letter_queue
from ops.dead_letters.select import LetterFilter, Places
from schemas.numbers import whole_number

_SHOWN = 100
# Groups of at most this many letters are shown unfolded.
_UNFOLDED = 5
_CACHE_SECONDS = 2.0
_NONE_LEFT = "No such letter any more"


class DeadLetterPages:
    """The pages of the dead letters."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._letters: list[Letter] = []
        self._read_at = -_CACHE_SECONDS
        # by user; not in the page's address, where any link could set it
        self._results: dict[str, str] = {}

    def all(self, user: str) -> Page:
        """All letters grouped by cause, the most frequent first, and the result of the user's action."""
        return self._list(self._results.pop(user, ""), None)

    def one(self, id_: str, *, whole: bool) -> Page:
        """One letter, and the effect of a replay; LookupError if no letter has that id.

        `id_` may be the beginning of an id. `whole`: whether to query Slurm and the cloud also;
        only for known users.
        """
        choice = LetterFilter(ids=(id_,))
        found = choice.of(self._read()) or choice.of(self._read(fresh=True))
        if not found:
            raise LookupError("That letter is gone: it was resolved, or is being resolved now.")
        known = look_up_context(self._session, found[0].command, whole=whole)
        facts = describe(found[0], known, time.time_ns())
        # the page's heading names the cause
        shown = [(label, value) for label, value in facts if label != "cause"]
        return "letter.html", {"letter": found[0], "facts": shown}

    def act(self, user: str, form: Sequence[tuple[str, object]]) -> Page:
        """Replay or discard letters; several letters only after a confirmation.

        The page is "" once it is done: `all` shows the result.
        """
        fields = {name: str(value).strip() for name, value in form}
        action = _action(form, fields)
        if action.verb not in {"replay", "discard"}:
            return self._list("", "Choose an action: replay or discard.")
        if action.choice.everything:
            return self._list("", "Choose letters first.")
        lacks_reason = action.verb == "discard" and not action.reason
        confirmed = fields.get("confirmed") == "yes"
        if not confirmed or lacks_reason:
            chosen = action.letters(self._read(fresh=True))
            if not chosen:
                return self._list("", f"{_NONE_LEFT}.")
            if len(chosen) > 1 or lacks_reason:
                problem = "A discard needs a reason; the audit records it." if confirmed else None
                return "confirm.html", {
                    "action": action,
                    "letters": chosen,
                    "stale": len(stale_letters(self._session, chosen)),
                    "problem": problem,
                }
        self._results[user] = self._do(action, Operator(f"{user} (console)", action.reason or None))
        return "", {}

    def _do(self, action: "_Action", operator: Operator) -> str:
        act = DeadLetterQueue.replay if action.verb == "replay" else DeadLetterQueue.discard
        session = self._session
        try:
            with session.store("state") as store, dead_letter_queue(session) as queue:
                results = list(act(queue, store, action.letters(queue.letters()), operator))
        finally:
            self._read_at = -_CACHE_SECONDS
        counts = Counter(result.done for result in results)
        refused = next((f": {result.why}" for result in results if result.why), "")
        done = ", ".join(f"{count} {done}" for done, count in sorted(counts.items()))
        return f"{done or _NONE_LEFT}{refused}."

    def _list(self, result: str, problem: str | None) -> Page:
        letters = self._read()
        places = Places.of(self._session.settings)
        return "letters.html", {
            "page": "/dead-letters",
            "letters": letters,
            "groups": [
                (key, letter_group(key[0], members), members)
                for key, members in group_letters(letters, "cause", places)
            ],
            "now": time.time_ns(),
            "shown": _SHOWN,
            "unfolded": _UNFOLDED,
            "result": result,
            "problem": problem,
        }

    def _read(self, *, fresh: bool = False) -> list[Letter]:
        """Read all letters; they are returned to the queue, and cached for simultaneous requests."""
        with self._lock:
            if fresh or time.monotonic() - self._read_at > _CACHE_SECONDS:
                with dead_letter_queue(self._session) as queue:
                    self._letters = queue.letters()
                self._read_at = time.monotonic()
            return self._letters


@dataclass(frozen=True, slots=True)
class _Action:
    """A form's action on the chosen letters, or on all of one cause, that died before a moment."""

    verb: str
    reason: str
    choice: LetterFilter
    before: int

    def letters(self, letters: Sequence[Letter]) -> list[Letter]:
        """Return the letters to act on."""
        # letters that died after the page was made were not part of the decision
        return [x for x in self.choice.of(letters) if (x.died_at or 0) < self.before]


def _action(form: Sequence[tuple[str, object]], fields: Mapping[str, str]) -> _Action:
    verb, _, scope = fields.get("do", "").partition(" ")
    before = fields.get("before", "")
    if scope == "all":
        choice = LetterFilter(trouble=(fields.get("error", ""), fields.get("like", "")))
    else:
        ids = {str(value) for name, value in form if name == "id" and value}
        choice = LetterFilter(ids=tuple(sorted(ids)))
    reason = fields.get("reason", "")[:LONGEST_REASON]
    return _Action(verb, reason, choice, whole_number(before) or time.time_ns())
