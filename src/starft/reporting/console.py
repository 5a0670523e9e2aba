"""The console of tables: names are text, whatever they hold, and what steers a terminal is shown as an escape."""

import sys
from collections.abc import Iterable
from typing import IO

from rich import console as rich_console
from rich.segment import Segment

from starft.safe_text import visible_lines


class Console(rich_console.Console):
    """Rich's console without markup and emoji codes in what it is given: class names may look like both.

    Args:
        width: Columns where the output isn't a terminal; a terminal has its own.
        stderr: Whether it prints to standard error.
        file: Where it prints else; None for none.
    """

    def __init__(self, width: int = 120, stderr: bool = False, file: IO[str] | None = None) -> None:
        goes_to = file or (sys.stderr if stderr else sys.stdout)
        width_there = None if goes_to.isatty() else width
        super().__init__(width=width_there, stderr=stderr, file=file, markup=False, emoji=False)

    def render(
        self, renderable: rich_console.RenderableType, options: rich_console.ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield segments without control characters, but for those that rich itself makes."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(visible_lines(segment.text), segment.style)
