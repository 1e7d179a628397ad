"""`lamplighter audit`: the group of commands on the audit log."""

import click

from ops.cli.lazy import Lazy, LazyGroup


class _AuditCommands(LazyGroup):
    lazy = {  # noqa: RUF012 - click makes one instance
        "list": Lazy("ops.audit.listing:list_", "List the latest events."),
        "show": Lazy("ops.audit.listing:show", "Show the history of one request."),
        "tail": Lazy("ops.audit.listing:tail", "Show the last events, and follow new ones."),
        "why": Lazy("ops.audit.questions:why", "Explain why a job waited."),
        "failures": Lazy("ops.audit.questions:failures", "List failed requests by cause."),
        "slowest": Lazy("ops.audit.questions:slowest", "List the slowest boots."),
        "export": Lazy("ops.audit.export:export", "Export records as CloudEvents or CSV."),
        "verify": Lazy("ops.audit.chain:verify", "Find changed, removed or reordered records."),
        "heads": Lazy("ops.audit.chain:heads", "Print the signed heads, to keep elsewhere."),
        "seal": Lazy("ops.audit.segments:seal", "Seal a segment of the log."),
        "prune": Lazy("ops.audit.segments:prune", "Drop whole sealed segments."),
    }


@click.group(cls=_AuditCommands)
def audit() -> None:
    """Query, verify and maintain the audit log."""
