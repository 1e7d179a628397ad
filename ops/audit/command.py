"""`lamplighter audit`: what happened, why, and whether the log is as it was written."""

import click

from ops.cli.lazy import Lazy, LazyGroup


class _AuditCommands(LazyGroup):
    lazy = {  # noqa: RUF012 - click makes one instance
        "list": Lazy("ops.audit.listing:list_", "The latest events."),
        "show": Lazy("ops.audit.listing:show", "The whole story of one request."),
        "tail": Lazy("ops.audit.listing:tail", "The last events, and those that come."),
        "why": Lazy("ops.audit.questions:why", "Why a job waited."),
        "failures": Lazy("ops.audit.questions:failures", "What requests failed of, by cause."),
        "slowest": Lazy("ops.audit.questions:slowest", "The boots that took longest."),
        "export": Lazy("ops.audit.export:export", "Records as CloudEvents or CSV."),
        "verify": Lazy("ops.audit.chain:verify", "Find what was altered, removed or reordered."),
        "heads": Lazy("ops.audit.chain:heads", "Signed heads of the log, to be kept elsewhere."),
        "seal": Lazy("ops.audit.chain:seal", "End a segment of the log."),
        "prune": Lazy("ops.audit.chain:prune", "Drop whole sealed segments."),
    }


@click.group(cls=_AuditCommands)
def audit() -> None:
    """The audit log: every event, once."""
