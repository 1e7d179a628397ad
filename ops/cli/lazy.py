"""Command groups that import a command only when it runs, so that --help and completion are fast."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, TypeAlias

import click

Commands: TypeAlias = Mapping[str, "tuple[str, str] | LazyGroup"]

# Characters of a line of help, by default its first sentence.
_LONGEST = 100


class LazyGroup(click.Group):
    """A group of commands; the help lists them in the order of `lazy`.

    `lazy` has, by name, a command's location (`module:name`) and its line in the help; or a group.
    """

    def __init__(self, name: str | None, *, lazy: Commands, **attributes: Any) -> None:  # noqa: ANN401 - click's
        super().__init__(name, **attributes)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands."""
        del ctx
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None if the group does not have it."""
        del ctx
        found = self._lazy.get(cmd_name)
        if not isinstance(found, tuple):
            return found
        module, _, name = found[0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        del ctx
        lines = [
            (name, found[1] if isinstance(found, tuple) else found.get_short_help_str(_LONGEST))
            for name, found in self._lazy.items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(lines)
