"""The demo on a terminal: lamps, events and steps, live; plain lines where it is no terminal."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from demo.state import Sight
from ops.audit.records import what
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
    """Use as a context manager; `step` and `show` bring it up to date."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self._began = time.monotonic()
        self._running = True
        self._steps: list[tuple[float, str]] = []
        self._sight: Sight | None = None
        self._seen: set[object] = set()
        self._spinner = Spinner("dots")
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
        self.freeze()

    def freeze(self) -> None:
        """Leave what is shown as it is; from now on lines are printed below it."""
        if self._live.is_started:
            self._running = False
            self._live.update(self._draw(), refresh=True)
            self._live.stop()

    def step(self, text: str) -> None:
        """The next step begins."""
        self._steps.append((self._now(), text))
        if not self.console.is_terminal:
            self.console.print(f"{self._steps[-1][0]:5.1f} s  {text}")

    def show(self, sight: Sight) -> None:
        """What is to be seen now."""
        self._sight = sight
        if not self.console.is_terminal:
            self._print_news(sight)

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _print_news(self, sight: Sight) -> None:
        now = self._now()
        for lamp in sight.lamps:
            if lamp not in self._seen:
                self._seen.add(lamp)
                symbol, _ = _LAMPS[lamp.light]
                line = f"{now:5.1f} s    {symbol} {lamp.node} {lamp.light}: Slurm {lamp.slurm}, "
                self.console.print(f"{line}cloud {lamp.cloud}", markup=False, soft_wrap=True)
        for event in sight.events:
            if event.id not in self._seen:
                self._seen.add(event.id)
                told = f"{what(event)} {plain(event.subject or '')}"
                self.console.print(f"{now:5.1f} s    audit: {told}", markup=False)

    def _draw(self) -> Group:
        parts: list[Table | Panel] = [self._draw_steps()]
        if self._sight is not None:
            parts += [self._draw_lamps(self._sight), self._draw_events(self._sight)]
        return Group(*parts)

    def _draw_steps(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for number, (began, text) in enumerate(self._steps):
            last = self._running and number == len(self._steps) - 1
            mark = self._spinner if last else Text("✓", style="green")
            ends = [*(start for start, _ in self._steps[number + 1 :]), self._now()]
            table.add_row(mark, Text(f"{ends[0] - began:5.1f} s", style="dim"), text)
        return table

    def _draw_lamps(self, sight: Sight) -> Panel:
        table = Table(box=None, pad_edge=False)
        for column in ("", "node", "light", "Slurm", "cloud"):
            table.add_column(column)
        for lamp in sight.lamps:
            symbol, style = _LAMPS[lamp.light]
            table.add_row(Text(symbol, style=style), lamp.node, lamp.light, lamp.slurm, lamp.cloud)
        return Panel(table, title=f"nodes (job: {sight.job})", title_align="left")

    def _draw_events(self, sight: Sight) -> Panel:
        table = Table.grid(padding=(0, 2))
        for event in sight.events[-_EVENTS:]:
            table.add_row(
                Text(moment(event.time), style="dim"), what(event), plain(event.subject or "")
            )
        return Panel(table, title="audit, as it happens", title_align="left")
