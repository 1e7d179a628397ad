"""Show steps, lamps and events live on a terminal, or as plain lines if the output is not one."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from demo.state import DemoState
from ops.audit.records import event_name
from ops.cli.terminal import moment, plain

_LAMPS = {
    "lit": ("●", "bold yellow"),
    "lighting": ("◐", "yellow"),
    "going out": ("◑", "dim yellow"),
    "out": ("○", "dim"),
    "failed": ("✗", "bold red"),
}
_EVENTS = 10


class Screen:
    """Use as a context manager; an exception that leaves the block marks the last step as failed."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self._began = time.monotonic()
        self._last_mark: Spinner | Text = Spinner("dots")
        self._steps: list[tuple[float, str]] = []
        self._state: DemoState | None = None
        self._printed: set[object] = set()
        self._live = Live(get_renderable=self._draw, console=self.console, refresh_per_second=8)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.freeze(failed=error is not None)

    def freeze(self, *, failed: bool = False) -> None:
        """End the live display; later lines are printed below it."""
        if self._live.is_started:
            done = Text("✗", style="bold red") if failed else Text("✓", style="green")
            self._last_mark = done
            self._live.update(self._draw(), refresh=True)
            self._live.stop()
        elif failed and self._steps and not self.console.is_terminal:
            self._print(f"✗ {self._steps[-1][1]}")

    def step(self, text: str) -> None:
        """Begin the next step."""
        self._steps.append((self._now(), text))
        if not self.console.is_terminal:
            self._print(text)

    def show(self, state: DemoState) -> None:
        """Show the present state."""
        self._state = state
        if not self.console.is_terminal:
            self._print_changes(state)

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _print(self, text: str) -> None:
        self.console.print(f"{self._now():5.1f} s  {text}", markup=False, soft_wrap=True)

    def _print_changes(self, state: DemoState) -> None:
        for lamp in state.lamps:
            if lamp not in self._printed:
                self._printed.add(lamp)
                symbol, _ = _LAMPS[lamp.light]
                words = f"{symbol} {lamp.node} {lamp.light}: Slurm {lamp.slurm}, cloud {lamp.cloud}"
                self._print(f"  {words}")
        for event in state.events:
            if event.id not in self._printed:
                self._printed.add(event.id)
                self._print(f"  audit: {event_name(event)} {plain(event.subject or '')}")

    def _draw(self) -> Group:
        parts: list[Table | Panel] = [self._draw_steps()]
        if self._state is not None:
            parts += [self._draw_lamps(self._state), self._draw_events(self._state)]
        return Group(*parts)

    def _draw_steps(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for number, (began, text) in enumerate(self._steps):
            last = number == len(self._steps) - 1
            mark = self._last_mark if last else Text("✓", style="green")
            end = self._now() if last else self._steps[number + 1][0]
            table.add_row(mark, Text(f"{end - began:5.1f} s", style="dim"), text)
        return table

    def _draw_lamps(self, state: DemoState) -> Panel:
        table = Table(box=None, pad_edge=False)
        for column in ("", "node", "lamp", "Slurm", "cloud"):
            table.add_column(column)
        for lamp in state.lamps:
            symbol, style = _LAMPS[lamp.light]
            table.add_row(Text(symbol, style=style), lamp.node, lamp.light, lamp.slurm, lamp.cloud)
        return Panel(table, title=f"nodes (job: {state.job})", title_align="left")

    def _draw_events(self, state: DemoState) -> Panel:
        table = Table.grid(padding=(0, 2))
        for event in state.events[-_EVENTS:]:
            table.add_row(
                Text(moment(event.time), style="dim"), event_name(event), plain(event.subject or "")
            )
        return Panel(table, title="audit", title_align="left")
