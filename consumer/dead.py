"""The dead-letter record: everything a person needs, and the entry's own fields untouched."""

import json
from base64 import b64encode
from collections.abc import Mapping
from hashlib import blake2b
from importlib.metadata import version

from consumer.attempt import attempt
from consumer.decode import RegionEvent, Rejection
from consumer.events import MESSAGE_LIMIT, Fault, kind_of
from consumer.settings import Settings

REDRIVES = b"redrives"
PREFIX = b"event."
# A Lua script passes at most some 8 000 values to one command.
MANY_FIELDS = 1_000
VERSION = version("region-stream")


def record(
    event: RegionEvent | Rejection, fault: Fault, settings: Settings, now_ms: int
) -> dict[bytes | str, bytes | str]:
    """The flat fields of one dead letter (docs/dead-letters.md has the table)."""
    entry = event.entry
    here = attempt(settings.stream, settings.group, entry, event.origin)
    return {
        "reason": fault.reason,
        "stage": fault.stage,
        "error_type": fault.error_type,
        "error_message": fault.message[:MESSAGE_LIMIT],
        "error_paths": ",".join(fault.paths),
        "failed_at": str(now_ms),
        "first_seen_at": entry.id.partition("-")[0],
        "deliveries": str(entry.deliveries),
        "redrives": _redrives(entry.fields),
        "consumer": settings.consumer,
        "source_stream": settings.stream,
        "source_group": settings.group,
        "source_id": entry.id,
        "region": event.region,
        "snapshot_id": event.snapshot_id,
        "fingerprint": fingerprint(fault),
        "traceparent": here.traceparent,
        "version": VERSION,
        **_original(entry.fields),
    }


def fingerprint(fault: Fault) -> str:
    """The same for faults of one kind: error type, stage, and paths without list positions."""
    kinds = sorted({kind_of(path) for path in fault.paths})
    spoken = "\0".join((fault.reason, fault.stage, fault.error_type, *kinds))
    return blake2b(spoken.encode(), digest_size=6).hexdigest()


def _redrives(fields: Mapping[bytes, bytes]) -> str:
    """How often it was replayed: a replay writes this field; a stranger's nonsense counts 0."""
    value = fields.get(REDRIVES, b"0")
    return value.decode() if len(value) < 7 and value.isdigit() else "0"


def _original(fields: Mapping[bytes, bytes]) -> dict[bytes | str, bytes | str]:
    if len(fields) <= MANY_FIELDS:
        return {PREFIX + name: value for name, value in fields.items()}
    pairs = [[b64encode(n).decode(), b64encode(v).decode()] for n, v in fields.items()]
    return {"event_fields_base64": json.dumps(pairs)}
