"""The command `lamplighter`.

Exit codes: 0 success; 1 the command ran, and the result is negative (a check found differences, a
dead letter was refused); 2 the configuration, the command line or a message is wrong; 3 the broker
or a store is unavailable.
"""

import sys
from pathlib import Path

import click

from ops.cli.lazy import Lazy, LazyGroup


class _Commands(LazyGroup):
    lazy = {  # noqa: RUF012 - click makes one instance
        "up": Lazy("ops.processes.up:up", "Run all workers of a small installation."),
        "worker": Lazy("ops.processes.worker:worker", "Run one worker."),
        "relay": Lazy("ops.processes.worker:relay", "Publish the requests in the hooks' spool."),
        "nodes": Lazy("ops.nodes.command:nodes", "List nodes; create, adopt and delete servers."),
        "image": Lazy("ops.nodes.images:image", "Make an image from a node for its group."),
        "resume": Lazy("ops.nodes.requests:resume", "Power on nodes."),
        "suspend": Lazy("ops.nodes.requests:suspend", "Power off nodes."),
        "snapshot": Lazy(
            "ops.site.snapshot:snapshot", "Take a snapshot of Slurm's node states now."
        ),
        "drift": Lazy(
            "ops.site.drift:drift", "Show, and repair, differences from what Slurm wants."
        ),
        "hold": Lazy("ops.nodes.holds:hold", "Exclude nodes from all actions."),
        "release": Lazy("ops.nodes.holds:release", "End a hold."),
        "status": Lazy("ops.site.status:status", "Show workers, queue depths and node states."),
        "clock": Lazy("ops.site.clock:clock", "Show and reset the clock that orders requests."),
        "tokens": Lazy("ops.site.tokens:tokens", "Check, test and renew the logins to the clouds."),
        "topology": Lazy(
            "ops.site.topology:topology", "Show, create and check exchanges and queues."
        ),
        "audit": Lazy("ops.audit.command:audit", "Read and verify the audit log."),
        "report": Lazy("ops.report.command:report", "Report usage and waste."),
        "console": Lazy("ops.console.command:console", "Serve the web console."),
        "dead-letters": Lazy(
            "ops.dead_letters.command:dead_letters", "Handle requests that failed permanently."
        ),
    }


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Path of lamplighter.toml. Default: $LAMPLIGHTER_CONFIG, then the directory of"
    " $SLURM_CONF, then /etc/lamplighter.",
)
@click.version_option(package_name="lamplighter")
@click.pass_context
def cli(ctx: click.Context, config: Path | None) -> None:
    """Power cloud nodes on and off for Slurm."""
    from ops.cli.session import Session  # noqa: PLC0415 - --help needs no settings

    ctx.obj = Session(config)


def main() -> None:
    """Run the command line and end the process; an error is one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        # a name that the terminal cannot show must not end a listing half-way
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        cli(prog_name="lamplighter")
    except Exception as error:
        from ops.cli.errors import explain  # noqa: PLC0415 - loads pika and SQLAlchemy

        explained = explain(error)
        if explained is None:
            raise
        line, code = explained
        click.echo(f"lamplighter: {line}", err=True)
        sys.exit(code)


if __name__ == "__main__":
    main()
