"""`lamplighter audit`: what happened, why, and whether the log is as it was written."""

import click

from ops.lazy import Lazy, LazyGroup


class _Commands(LazyGroup):
    lazy = {  # noqa: RUF012 - click makes one instance
        "list": Lazy("ops.audit_look:list_", "The latest events."),
        "show": Lazy("ops.audit_look:show", "The whole story of one request."),
        "tail": Lazy("ops.audit_look:tail", "The last events, and those that come."),
        "why": Lazy("ops.audit_questions:why", "Why a job waited."),
        "failures": Lazy("ops.audit_questions:failures", "What requests failed of, by cause."),
        "slowest": Lazy("ops.audit_questions:slowest", "The boots that took longest."),
        "export": Lazy("ops.audit_export:export", "Records as CloudEvents or CSV."),
        "verify": Lazy("ops.audit_chain:verify", "Find what was altered, removed or reordered."),
        "heads": Lazy("ops.audit_chain:heads", "Signed heads of the log, to be kept elsewhere."),
        "seal": Lazy("ops.audit_chain:seal", "End a segment of the log."),
        "prune": Lazy("ops.audit_chain:prune", "Drop whole sealed segments."),
    }


@click.group(cls=_Commands)
def audit() -> None:
    """The audit log: every event, once."""
