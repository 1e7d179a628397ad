"""The command `lamplighter`.

Exit codes: 0 done; 1 done, and the answer is no (a check found differences, a letter was refused);
2 the configuration, the command line or a message is wrong; 3 the broker or a store is away.
"""

import sys
from pathlib import Path

import click

from ops.cli.lazy import Lazy, LazyGroup


class _Commands(LazyGroup):
    lazy = {  # noqa: RUF012 - click makes one instance
        "up": Lazy("ops.processes.up:up", "Run all workers of a small site."),
        "worker": Lazy("ops.processes.worker:worker", "Run one worker."),
        "relay": Lazy("ops.processes.worker:relay", "Send what hooks left in the spool."),
        "nodes": Lazy(
            "ops.nodes.command:nodes", "Deploy, adopt and retire servers; how nodes stand."
        ),
        "image": Lazy("ops.nodes.images:image", "Make an image of a node, for all of its group."),
        "resume": Lazy("ops.nodes.command:resume", "Light nodes."),
        "suspend": Lazy("ops.nodes.command:suspend", "Put nodes out."),
        "snapshot": Lazy("ops.site.snapshot:snapshot", "Say now how Slurm sees its nodes."),
        "drift": Lazy("ops.site.drift:drift", "What is not as Slurm wants it; repair it."),
        "hold": Lazy("ops.nodes.holds:hold", "Keep everything off nodes."),
        "release": Lazy("ops.nodes.holds:release", "End a hold."),
        "status": Lazy("ops.site.status:status", "What runs, queue depths, nodes by state."),
        "tokens": Lazy(
            "ops.site.tokens:tokens", "How logins to the clouds stand; log in; try a cloud."
        ),
        "topology": Lazy("ops.site.topology:topology", "The broker's exchanges and queues."),
        "audit": Lazy("ops.audit.command:audit", "What happened, and why."),
        "report": Lazy("ops.report.command:report", "Usage and waste."),
        "console": Lazy("ops.console.command:console", "The site on a web page, live."),
        "dead-letters": Lazy(
            "ops.dead_letters.command:dead_letters", "Requests that failed for good."
        ),
    }


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="lamplighter.toml; else $LAMPLIGHTER_CONFIG, beside $SLURM_CONF, /etc/lamplighter.",
)
@click.version_option(package_name="lamplighter")
@click.pass_context
def cli(ctx: click.Context, config: Path | None) -> None:
    """Lamplighter: wakes cloud nodes for Slurm, and puts them out."""
    from ops.cli.session import Session  # noqa: PLC0415 - --help needs no settings

    ctx.obj = Session(config)


def main() -> None:
    """Run the command line and end the process; what goes wrong is one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        # Names in other scripts than the terminal's must not end a listing half-way.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        cli(prog_name="lamplighter")
    except Exception as error:
        from ops.cli.errors import explain  # noqa: PLC0415 - needed only now

        explained = explain(error)
        if explained is None:
            raise
        line, code = explained
        click.echo(f"lamplighter: {line}", err=True)
        sys.exit(code)


if __name__ == "__main__":
    main()
