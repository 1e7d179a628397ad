"""A report as one HTML file that needs nothing else."""

from functools import partial

from jinja2 import BaseLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ops.cli.terminal import plain
from ops.report.chart import chart, share
from ops.report.report import Report, hours


def page(report: Report, cluster: str) -> str:
    """The whole file."""
    template = templates(PackageLoader("ops.report")).get_template("page.html")
    return template.render(cluster=cluster, **values(report))


def templates(loader: BaseLoader) -> Environment:
    """Templates in which everything that is filled in is escaped, for HTML and for the eye."""
    return Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
    )


def values(report: Report) -> dict[str, object]:
    """What the template `figures.html` shows."""
    return {
        "report": report,
        "chart": chart(report) if report.rows else None,
        "share": partial(share, of=report.rows),
        "hours": hours,
    }


def visible(value: object) -> object:
    """What a message holds cannot turn the text around it: direction marks are spelt out."""
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value
