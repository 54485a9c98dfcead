"""The journal: a stream that tells of each delivery what became of it. THE CONTRACT of it, pure.

One entry for each batch: fields `consumer`, `at` (ms since the epoch), `ms` (how long the batch
took) and `rows`, a JSON list with one list for each delivery, in the order of `Row`'s first
fields. It is written after the fact and never decides anything: what stands in the keys and in
the streams is the truth, and a crash between the two leaves a gap in the journal alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

FINAL = frozenset({"persisted", "superseded", "duplicate", "redelivered", "dead_lettered"})


class Row(NamedTuple):
    """One delivery. `other`: what holds the bucket, stands as latest, or the dead letter's id;
    `why`: the dead letter's reason, or the error that left it pending."""

    entry_id: str
    region: str
    snapshot_id: str
    outcome: str
    other: str
    deliveries: int
    traceparent: str
    cycle: str
    why: str
    consumer: str = ""
    at_ms: int = 0
    ms: float = 0.0

    @property
    def final(self) -> bool:
        return self.outcome in FINAL


def journal_of(stream: str) -> str:
    """The journal's name. Entries go with the retention of the stream."""
    return f"{stream}:settled"


def fields_of(
    rows: Sequence[tuple[Any, ...]], consumer: str, at_ms: int, ms: float
) -> tuple[str | bytes | int, ...]:
    """The flat fields of a journal entry; rows: the first nine fields of `Row` each."""
    return "consumer", consumer, "at", at_ms, "ms", f"{ms:.2f}", "rows", to_json(rows)


def rows_of(fields: Mapping[bytes, bytes]) -> list[Row]:
    """Read a journal entry; what is not one is nothing."""
    try:
        about = (fields[b"consumer"].decode(), int(fields[b"at"]), float(fields[b"ms"]))
        return [Row(*[*row, *about]) for row in from_json(fields[b"rows"])]
    except (KeyError, ValueError, TypeError):
        return []
