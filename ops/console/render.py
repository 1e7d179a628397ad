"""Pages from templates: everything that is filled in is escaped, for HTML and for the eye."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader

from ops.cli.terminal import duration, moment
from ops.console.alerts import alerts
from ops.console.view import WORDS, SiteView, many, sign, summary, words
from ops.report.page import templates
from workers.dead_letters.letter import Letter
from workers.store.lamps import Lamp

_NS = 1_000_000_000


def environment() -> Environment:
    """The templates."""
    made = templates(ChoiceLoader([PackageLoader("ops.console"), PackageLoader("ops.report")]))
    made.filters |= {
        "when": moment,
        "clock": _clock,
        "iso": _iso,
        "lasted": duration,
        "many": many,
    }
    made.filters |= {
        "summary": summary,
        "concerns": alerts,
        "day": _day,
        "about": _about,
        "sentence": _sentence,
    }
    made.globals |= {"LAMPS": list(Lamp), "WORDS": WORDS, "sign": sign, "words": words}
    made.globals["parts"] = made.get_template("parts.html").module
    return made


def parts(pages: Environment) -> Callable[[SiteView], dict[str, str]]:
    """What changes while a page is open, as HTML by the id of its place."""
    module: Any = pages.globals["parts"]

    def render(view: SiteView) -> dict[str, str]:
        made = {
            name: str(getattr(module, name)(view))
            for name in ("concerns", "summary", "open", "queues", "workers", "logins", "events")
        }
        for number, group in enumerate(view.groups):
            made[f"counts-{number}"] = str(module.counts(view, group))
        made["letters"] = str(module.letters(view))
        return made

    return render


def _iso(ns: int) -> str:
    return moment(ns)


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _about(letter: Letter) -> str:
    if letter.command is not None:
        return letter.command.node
    return "malformed" if letter.undelivered is None else letter.undelivered.webhook


def _day(ns: int | None) -> str:
    return (
        "-" if ns is None else datetime.fromtimestamp(ns / _NS, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    )


def _clock(ns: int) -> str:
    return datetime.fromtimestamp(ns / _NS, UTC).strftime("%H:%M:%S")
