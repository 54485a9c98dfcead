"""A stream entry's bytes → RegionEvent | Rejection. Pure; nothing is raised for bad input."""

from collections.abc import Mapping
from typing import NamedTuple

from faststream.redis.parser import BinaryMessageFormatV1

from consumer.events import (
    CYCLE,
    FASTSTREAM_DATA,
    SNAPSHOT,
    TRACEPARENT,
    TRACESTATE,
    Facts,
    Fault,
    Rules,
    check,
    undecodable,
)


class Entry(NamedTuple):
    """One delivery of one stream entry. deliveries: 1 when it was read, more when taken over."""

    id: str
    fields: Mapping[bytes, bytes]
    deliveries: int = 1


class Origin(NamedTuple):
    """What the producer says of itself; all of it optional, none of it trusted."""

    traceparent: str = ""
    tracestate: str = ""
    cycle: str = ""


class RegionEvent(NamedTuple):
    entry: Entry
    origin: Origin
    facts: Facts
    raw: bytes

    @property
    def region(self) -> str:
        return self.facts.region

    @property
    def snapshot_id(self) -> str:
        return self.facts.snapshot_id


class Rejection(NamedTuple):
    entry: Entry
    origin: Origin
    fault: Fault

    @property
    def region(self) -> str:
        return self.fault.region

    @property
    def snapshot_id(self) -> str:
        return self.fault.snapshot_id


_TEXT_LIMIT = 256
_TRACESTATE_LIMIT = 512
_NO_ORIGIN = Origin()


def decode(entry: Entry, rules: Rules, now_ms: int) -> RegionEvent | Rejection:
    """Find the snapshot in the entry, whoever wrote it, and check it."""
    fields = entry.fields
    raw = fields.get(SNAPSHOT)
    if raw is not None:
        origin = _origin(fields)
    elif FASTSTREAM_DATA in fields:
        raw, headers = BinaryMessageFormatV1.parse(fields[FASTSTREAM_DATA])
        origin = _origin(
            {str(name).encode(): str(value).encode() for name, value in headers.items()}
        )
    else:
        fault = undecodable("no_snapshot", "the entry has no field named snapshot")
        return Rejection(entry, _origin(fields), fault)
    verdict = check(raw, rules, now_ms)
    if isinstance(verdict, Facts):
        return RegionEvent(entry, origin, verdict, raw)
    return Rejection(entry, origin, verdict)


def payload(fields: Mapping[bytes, bytes]) -> bytes | None:
    """The snapshot's bytes as the entry holds them; None when it has none."""
    if SNAPSHOT in fields or FASTSTREAM_DATA not in fields:
        return fields.get(SNAPSHOT)
    return bytes(BinaryMessageFormatV1.parse(fields[FASTSTREAM_DATA])[0])


def _origin(fields: Mapping[bytes, bytes]) -> Origin:
    if len(fields) == 1:
        return _NO_ORIGIN
    return Origin(
        _text(fields, TRACEPARENT, _TEXT_LIMIT),
        _text(fields, TRACESTATE, _TRACESTATE_LIMIT),
        _text(fields, CYCLE, _TEXT_LIMIT),
    )


def _text(fields: Mapping[bytes, bytes], name: bytes, limit: int) -> str:
    """A short printable string, or none at all: it ends up in spans and logs."""
    value = fields.get(name, b"")
    if not value or len(value) > limit:
        return ""
    text = value.decode("utf-8", "replace")
    return text if text.isprintable() else ""
