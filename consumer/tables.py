"""How things look in a terminal of 80 columns."""

import time
from collections.abc import Sequence

from rich.table import Table

from consumer.latest import Newest


def table(*columns: str) -> Table:
    return Table(*columns, box=None, header_style="bold", pad_edge=False)


def latest_table(found: Sequence[Newest]) -> Table:
    rows = table("region", "newest snapshot", "age", "size")
    now_ms = time.time_ns() // 1_000_000
    for one in found:
        if one.generated_at is None:
            said = "none persisted" if one.state == "none" else "expired or deleted"
            rows.add_row(one.region, one.snapshot_id or "–", f"[yellow]{said}[/]", "")
        else:
            age = span(max(now_ms - one.generated_at, 0) / 1000)
            rows.add_row(one.region, one.snapshot_id, age, f"{len(one.raw) / 1000:.1f} KB")
    return rows


def span(seconds: float) -> str:
    """A length of time as a person says it: 42.0 s, 5.5 min, 3.0 h, 2.1 d."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
