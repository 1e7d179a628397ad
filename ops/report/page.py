"""A report as one self-contained HTML file."""

from jinja2 import BaseLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ops.cli.terminal import moment, plain
from ops.report.chart import chart
from ops.report.report import Report, hours


def page(report: Report, cluster: str) -> str:
    """The HTML file."""
    template = templates(PackageLoader("ops.report")).get_template("page.html")
    return template.render(cluster=cluster, **report_values(report))


def templates(loader: BaseLoader) -> Environment:
    """A template environment that escapes all values, for HTML and against invisible characters."""
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
    )
    environment.globals |= {"hours": hours, "moment": moment}
    return environment


def report_values(report: Report) -> dict[str, object]:
    """The values for the template `figures.html`."""
    return {"report": report, "chart": chart(report) if report.rows else None}


def visible(value: object) -> object:
    """Escape characters that change the direction of the surrounding text."""
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value
