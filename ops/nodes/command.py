"""`lamplighter nodes`: lists nodes, and creates, adopts and deletes their servers."""

import click

from ops.cli.lazy import Lazy, LazyGroup


class _NodeCommands(LazyGroup):
    lazy = {  # noqa: RUF012 - click makes one instance
        "list": Lazy("ops.nodes.listing:list_", "List all nodes and their states."),
        "show": Lazy("ops.nodes.listing:show", "Show one node and its latest requests."),
        "deploy": Lazy("ops.nodes.requests:deploy", "Create servers, then power them off."),
        "adopt": Lazy("ops.nodes.requests:adopt", "Tag existing servers as Lamplighter's."),
        "retire": Lazy("ops.nodes.requests:retire", "Delete the servers of nodes."),
    }


@click.group(cls=_NodeCommands)
def nodes() -> None:
    """List nodes, and create, adopt and delete their servers."""
