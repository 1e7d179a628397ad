"""The template environment. Every value is escaped, for HTML and for direction marks."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader

from ops.cli.terminal import duration, moment, plural
from ops.console.alerts import alerts
from ops.console.lamps import LAMPS, lamp, summary
from ops.console.view import SiteView
from ops.dead_letters.letter import Letter
from ops.report.page import templates

_NS = 1_000_000_000
_PARTS = ("alerts", "summary", "apart", "open", "queues", "workers", "logins", "events", "letters")


def environment() -> Environment:
    """Return the template environment, with its filters and globals."""
    made = templates(ChoiceLoader([PackageLoader("ops.console"), PackageLoader("ops.report")]))
    made.filters |= {
        "alerts": alerts,
        "clock": _time("%H:%M:%S"),
        "day": _time("%Y-%m-%d %H:%M:%SZ"),
        "duration": duration,
        "iso": moment,
        "plural": plural,
        "slug": lambda words: words.replace(" ", "-"),
        "sentence": lambda words: words[:1].upper() + words[1:],
        "subject": _subject,
        "summary": summary,
    }
    made.globals |= {"LAMPS": LAMPS, "lamp": lamp}
    made.globals["parts"] = made.get_template("parts.html").module
    return made


def parts(pages: Environment) -> Callable[[SiteView], dict[str, str]]:
    """Return a renderer of the parts that change while a page is open, as HTML by element id."""
    module: Any = pages.globals["parts"]

    def render(view: SiteView) -> dict[str, str]:
        made = {name: str(getattr(module, name)(view)) for name in _PARTS}
        for number, group in enumerate(view.groups):
            made[f"counts-{number}"] = str(module.counts(view, group))
        return made

    return render


def _subject(letter: Letter) -> str:
    if letter.command is not None:
        return letter.command.node
    return "malformed" if letter.undelivered is None else letter.undelivered.webhook


def _time(form: str) -> Callable[[int | None], str]:
    """A filter for ns since the epoch."""
    return lambda ns: "-" if ns is None else datetime.fromtimestamp(ns / _NS, UTC).strftime(form)
