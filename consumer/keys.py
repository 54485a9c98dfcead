"""Every key name and where it comes from; nothing else in the project spells one.

The names, types and TTLs are those of the readers that already exist (docs/keys.md). A Redis
Cluster would need hash tags here, and only here.
"""

from typing import Final

BUCKET_MS: Final = 900_000


def dedup(region: str, trigger_reason: str, generated_at: int) -> str:
    """String: the id that holds the bucket of 15 minutes. TTL: REGIONS_DEDUP_WINDOW_S."""
    return f"dedup:snapshot:v1:{region}:{trigger_reason}:{generated_at // BUCKET_MS}"


def snapshot(region: str, generated_at: int) -> str:
    """String: the JSON as published. TTL: REGIONS_KEEP_DAYS."""
    return f"intelligence:snapshot:v1:{region}:{generated_at}"


def by_id(snapshot_id: str) -> str:
    """String: the JSON as published. TTL: REGIONS_KEEP_DAYS. Written last: it marks 'done'."""
    return f"intelligence:snapshot-by-id:v1:{snapshot_id}"


def latest(region: str) -> str:
    """String: the bare id of the region's newest snapshot. TTL: REGIONS_KEEP_DAYS."""
    return f"intelligence:snapshot:v1:{region}:latest"


def index(region: str) -> str:
    """Sorted set: score generated_at, member id; pruned to REGIONS_KEEP_DAYS at each write."""
    return f"intelligence:snapshot-index:v1:{region}"


def live(region: str) -> str:
    """A cache others derive from the region's snapshots: deleted at each write."""
    return f"intelligence:snapshot:v1:{region}:live"


def survey(stream: str, group: str) -> str:
    """String: JSON, how the group stood a moment ago (survey.lua). TTL: seconds."""
    return f"{stream}:survey:{group}"


def audit(dead_stream: str) -> str:
    """Stream: what people did with dead letters (replay, edit, discard). No TTL."""
    return f"{dead_stream}:audit"


def patterns() -> tuple[str, ...]:
    """Glob patterns of all keys that hold snapshots, for access rules."""
    return ("dedup:snapshot:v1:*", "intelligence:snapshot*")
