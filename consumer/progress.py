"""Progress on a terminal, and silence elsewhere."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
AT_ONCE = 100


def in_parts(
    console: Console, what: str, items: Sequence[T], size: int = AT_ONCE
) -> Iterator[Sequence[T]]:
    """The items, so many at once, under a bar that goes on when a part is done."""
    bar = Progress(
        TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task(what, total=len(items))
        for start in range(0, len(items), size):
            part = items[start : start + size]
            yield part
            bar.advance(task, len(part))
