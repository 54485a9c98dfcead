"""Items in parts, under a bar where somebody looks."""

import io

import pytest
from rich.console import Console

from consumer.progress import in_parts


@pytest.mark.parametrize("terminal", [True, False])
def test_all_items_in_order_and_a_bar_on_a_terminal_alone(terminal: bool) -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=terminal, width=80)
    parts = list(in_parts(console, "replaying", list(range(250)), 100))
    assert [len(part) for part in parts] == [100, 100, 50]
    assert [item for part in parts for item in part] == list(range(250))
    assert ("replaying" in shown.getvalue()) == terminal
    assert ("250/250" in shown.getvalue()) == terminal


def test_nothing_to_do() -> None:
    assert list(in_parts(Console(file=io.StringIO()), "replaying", [])) == []
