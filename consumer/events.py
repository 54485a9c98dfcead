"""THE CONTRACT: what travels on the stream, and what counts as a valid regional snapshot.

Producers and the consumer check with the same function, `check`, so what one sends the other
takes. The only sibling imported is the document's shape (consumer/snapshot.py).
"""

import json
from collections.abc import Iterator
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, from_json

from consumer.snapshot import TRIGGER_REASONS, RegionId, Snapshot, SnapshotId, lenient, strict

REGIONS = (
    "mena",
    "east-asia",
    "europe",
    "north-america",
    "south-asia",
    "latam",
    "sub-saharan-africa",
    "global",
)

# The fields of a stream entry. `__data__` is what a FastStream publisher writes instead.
SNAPSHOT = b"snapshot"
TRACEPARENT = b"traceparent"
TRACESTATE = b"tracestate"
CYCLE = b"cycle"
FASTSTREAM_DATA = b"__data__"

DAY_MS = 86_400_000
MESSAGE_LIMIT = 1024
_PATHS_LIMIT = 20
_region: TypeAdapter[str] = TypeAdapter(RegionId)
_snapshot_id: TypeAdapter[str] = TypeAdapter(SnapshotId)


class Rules(NamedTuple):
    """What an operator may set about validity.

    allowed: region ids that are taken, or None for any that fits the pattern.
    max_bytes: largest snapshot.
    """

    allowed: frozenset[str] | None = frozenset(REGIONS)
    max_bytes: int = 1_048_576


class Facts(NamedTuple):
    """What the road needs to know of a valid snapshot; the rest stays bytes.

    surprises: (path, word) of each word outside today's vocabularies.
    """

    region: str
    snapshot_id: str
    generated_at: int
    trigger_reason: str
    surprises: tuple[tuple[str, str], ...] = ()


class Fault(NamedTuple):
    """Why a snapshot is refused. Never holds a value of the input, only where it stood.

    reason: `undecodable` (there is no JSON object to look at) or `invalid` (there is, and it
    breaks a rule). region and snapshot_id: as far as the document tells, else empty.
    """

    reason: str
    stage: str
    error_type: str
    message: str
    paths: tuple[str, ...] = ()
    region: str = ""
    snapshot_id: str = ""


def undecodable(error_type: str, message: str) -> Fault:
    return Fault("undecodable", "decode", error_type, message)


def check(raw: bytes, rules: Rules, now_ms: int) -> Facts | Fault:
    """Validate one snapshot's JSON bytes; a fault is a value, nothing is raised.

    Refuses what docs/publishing.md lists: not UTF-8, not JSON, not an object, a missing or
    mistyped field, an unknown region, an id that does not fit its pattern, a time that is not
    a positive integer or lies more than a day after `now_ms`, probabilities that do not add up.
    """
    if not raw:
        return undecodable("empty", "the snapshot is empty")
    if len(raw) > rules.max_bytes:
        return undecodable(
            "too_large", f"the snapshot has {len(raw)} bytes, more than {rules.max_bytes}"
        )
    # pydantic takes NaN and Infinity for JSON in fields it ignores; other readers would not.
    if (b"NaN" in raw or b"Infinity" in raw) and not _is_json(raw):
        return undecodable("not_json", "not JSON: NaN and Infinity are no numbers of it")
    surprises: tuple[tuple[str, str], ...] = ()
    try:
        snapshot = strict.validate_json(raw, strict=True)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        if any(detail["type"] != "literal_error" for detail in details):
            return _fault(raw, details)
        # Only new words, it seems (a list reports its first fault): any word is taken now.
        try:
            snapshot = lenient.validate_json(raw, strict=True)
        except ValidationError as deeper:
            return _fault(raw, deeper.errors(include_url=False, include_context=False))
        surprises = tuple((_path(d["loc"]), str(d["input"])[:64]) for d in details)
    return _rest(snapshot, rules, now_ms, surprises)


def _rest(
    snapshot: Snapshot, rules: Rules, now_ms: int, surprises: tuple[tuple[str, str], ...]
) -> Facts | Fault:
    """The rules that a schema cannot hold: they depend on settings, the clock, or a sum."""
    meta = snapshot["meta"]
    region, snapshot_id = snapshot["region_id"], meta["snapshot_id"]
    broken: list[tuple[str, str, str]] = []
    if rules.allowed is not None and region not in rules.allowed:
        broken.append(("unknown_region", "region_id", "not one of the allowed regions"))
    latest = now_ms + DAY_MS
    if _newest_time(snapshot) > latest:
        for path, time_ms in _times(snapshot):
            if time_ms > latest:
                broken.append(("time_ahead", path, "more than a day ahead of now"))
    for index, scenario in enumerate(snapshot["scenario_sets"]):
        total = sum([lane["probability"] for lane in scenario["lanes"]])
        if scenario["lanes"] and not 0.99 - 1e-9 <= total <= 1.01 + 1e-9:
            broken.append(("probabilities", f"scenario_sets.{index}", "must add up to 1 (± 0.01)"))
    if broken:
        return _invalid(broken, region, snapshot_id)
    reason = meta["trigger_reason"]
    if reason not in TRIGGER_REASONS:
        surprises = (*surprises, ("meta.trigger_reason", reason))
    return Facts(region, snapshot_id, snapshot["generated_at"], reason, surprises)


def _newest_time(snapshot: Snapshot) -> int:
    """The same times as `_times`, without their names: nearly always nobody asks for those."""
    triggers = snapshot["triggers"]
    return max(
        snapshot["generated_at"],
        snapshot["meta"]["valid_until"],
        snapshot["regime"]["transitioned_at"],
        *[evidence["observed_at"] for evidence in snapshot["evidence"]],
        *[
            trigger["activated_at"]
            for listed in (triggers["active"], triggers["watching"], triggers["dormant"])
            for trigger in listed
        ],
    )


def _times(snapshot: Snapshot) -> Iterator[tuple[str, int]]:
    yield "generated_at", snapshot["generated_at"]
    yield "meta.valid_until", snapshot["meta"]["valid_until"]
    yield "regime.transitioned_at", snapshot["regime"]["transitioned_at"]
    for index, evidence in enumerate(snapshot["evidence"]):
        yield f"evidence.{index}.observed_at", evidence["observed_at"]
    triggers = snapshot["triggers"]
    for state, listed in (
        ("active", triggers["active"]),
        ("watching", triggers["watching"]),
        ("dormant", triggers["dormant"]),
    ):
        for index, trigger in enumerate(listed):
            yield f"triggers.{state}.{index}.activated_at", trigger["activated_at"]


def _is_json(raw: bytes) -> bool:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        json.loads(raw, parse_constant=refuse)
    except (ValueError, RecursionError):
        return False
    return True


def kind_of(path: str) -> str:
    """A field's path without list positions: evidence.3.type → evidence.*.type."""
    return ".".join("*" if part.isdecimal() else part for part in path.split("."))


def _path(loc: tuple[int | str, ...]) -> str:
    return ".".join(map(str, loc))


def _fault(raw: bytes, details: list[ErrorDetails]) -> Fault:
    first = details[0]
    if first["type"] == "json_invalid":
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            return undecodable("not_utf8", f"not UTF-8 at byte {error.start}")
        return undecodable("not_json", first["msg"])
    if not first["loc"]:
        return undecodable("not_object", "the JSON is not an object")
    broken = [
        (d["type"], _path(d["loc"]), d["msg"]) for d in details if d["type"] != "literal_error"
    ]
    return _invalid(broken, *_identity(raw))


def _invalid(broken: list[tuple[str, str, str]], region: str, snapshot_id: str) -> Fault:
    message = "; ".join(f"{path}: {text}" for _, path, text in broken[:_PATHS_LIMIT])
    paths = tuple(path for _, path, _ in broken[:_PATHS_LIMIT])
    return Fault(
        "invalid", "validate", broken[0][0], message[:MESSAGE_LIMIT], paths, region, snapshot_id
    )


def _identity(raw: bytes) -> tuple[str, str]:
    """The region and the snapshot id of an invalid document, where they fit their patterns."""
    document = from_json(raw)
    meta = document.get("meta")
    region = document.get("region_id")
    snapshot_id = meta.get("snapshot_id") if isinstance(meta, dict) else None
    return _fitting(_region, region), _fitting(_snapshot_id, snapshot_id)


def _fitting(rule: TypeAdapter[str], value: object) -> str:
    try:
        return rule.validate_python(value, strict=True)
    except ValidationError:
        return ""
