"""Which trace an attempt belongs to. Pure, and the same wherever it is asked.

The ids are derived, not drawn: the dead letter can name its span before any span is made, a
redelivery knows the span of the delivery before it, and an event without a trace context keeps
one trace however often it is delivered (docs/decisions/0007-traces.md).
"""

import re
from hashlib import blake2b
from typing import NamedTuple

from consumer.decode import Entry, Origin

# The field in which a replay (replay.lua) names the traceparent of the attempt that failed.
REPLAY_TRACE = b"replay_trace"
_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class Attempt(NamedTuple):
    """The `process` span of one delivery. parent_id is 0 when the event brought no context;
    previous_id is the span of the delivery before, 0 for the first."""

    trace_id: int
    span_id: int
    parent_id: int
    previous_id: int
    sampled: bool
    """As the producer decided; True when nobody has."""

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"


def attempt(stream: str, group: str, entry: Entry, origin: Origin) -> Attempt:
    trace_id, parent_id, sampled = _context(stream, entry.id, origin.traceparent)
    previous = entry.deliveries - 1
    return Attempt(
        trace_id,
        _derive(8, stream, group, entry.id, str(entry.deliveries)),
        parent_id,
        _derive(8, stream, group, entry.id, str(previous)) if previous else 0,
        sampled,
    )


def trace_of(stream: str, entry_id: str, traceparent: str) -> str:
    """The trace of an event, in hex: its producer's, or the one derived from its id."""
    return f"{_context(stream, entry_id, traceparent)[0]:032x}"


def _context(stream: str, entry_id: str, traceparent: str) -> tuple[int, int, bool]:
    return parse(traceparent) or (_derive(16, stream, entry_id), 0, True)


def parse(traceparent: str) -> tuple[int, int, bool] | None:
    """W3C Trace Context, version 00 and its successors; None when it is not one."""
    found = _TRACEPARENT.match(traceparent)
    if not found or traceparent.startswith("ff"):
        return None
    trace_id, span_id = int(found[1], 16), int(found[2], 16)
    if not trace_id or not span_id:
        return None
    return trace_id, span_id, bool(int(found[3], 16) & 1)


def _derive(size: int, *parts: str) -> int:
    digest = blake2b("\0".join(parts).encode(), digest_size=size).digest()
    return int.from_bytes(digest) or 1
