"""What `regions doctor` looks at on the server: how it is set up, and what stands in it."""

from typing import Any, NamedTuple

from consumer.link import Link, ResponseError
from consumer.lookup import named
from consumer.scripts import load
from consumer.settings import Settings
from consumer.store import SCRIPTS

OLDEST = (7, 0)


class Finding(NamedTuple):
    """level: ok, warn or fail; advice: what to do, empty when nothing."""

    check: str
    level: str
    said: str
    advice: str = ""


Answers = dict[str, str]


async def info_of(link: Link) -> Answers:
    """What INFO tells; nothing where it is refused."""
    try:
        text = (await link.one("INFO")).decode("utf-8", "replace")
    except ResponseError:
        return {}
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


async def version(link: Link, settings: Settings, info: Answers) -> list[Finding]:
    version = info.get("redis_version")
    if version is None:
        return [
            Finding("version", "warn", "cannot be checked: INFO is refused", "give this user +info")
        ]
    ours = f"{info.get('server_name', 'redis')} {info.get('valkey_version', version)}"
    if tuple(map(int, version.split(".")[:2])) < OLDEST:
        return [Finding("version", "fail", ours, "Redis 7.0 or later, or Valkey")]
    return [Finding("version", "ok", ours)]


async def role(link: Link, settings: Settings, info: Answers) -> list[Finding]:
    found = []
    if info.get("role", "master") != "master":
        found.append(
            Finding(
                "role", "fail", "it is a replica, and read-only", "point REDIS_URL at the primary"
            )
        )
    if info.get("cluster_enabled", "0") != "0":
        found.append(
            Finding(
                "cluster", "fail", "a cluster", "not supported: one primary (docs/reliability.md)"
            )
        )
    return found


async def persistence(link: Link, settings: Settings, info: Answers) -> list[Finding]:
    if not info:
        return []
    if info.get("aof_enabled") != "1":
        advice = "appendonly yes: without it a server that dies forgets what it confirmed"
        return [Finding("aof", "fail", "the append-only file is off", advice)]
    found = []
    if info.get("aof_last_write_status", "ok") != "ok":
        found.append(Finding("aof", "fail", "the last write to it failed", "look at the disk"))
    fsync = (await _config(link, "appendfsync")) or "unknown"
    if fsync == "no":
        advice = "appendfsync everysec or always: the kernel alone decides what survives"
        return [*found, Finding("appendfsync", "fail", fsync, advice)]
    advice = (
        ""
        if fsync == "always"
        else "may lose the last second of a dying machine; always loses nothing"
    )
    return [*found, Finding("aof", "ok", "on"), Finding("appendfsync", "ok", fsync, advice)]


async def memory(link: Link, settings: Settings, info: Answers) -> list[Finding]:
    if not info:
        return []
    found = []
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        advice = (
            "maxmemory-policy noeviction: an evicting server throws snapshots and dedup marks away"
        )
        found.append(Finding("eviction", "fail", policy, advice))
    used, limit = int(info["used_memory"]), int(info.get("maxmemory", 0))
    whole = limit or int(info.get("total_system_memory", 0))
    share = used / whole if whole else 0.0
    said = f"{used / 1e6:.0f} MB of {whole / 1e6:.0f} MB" + ("" if limit else " (no maxmemory)")
    if share > 0.8:
        level = "fail" if share > 0.95 else "warn"
        advice = "more memory or a shorter REGIONS_RETAIN_S: a full server takes no event"
        found.append(Finding("memory", level, said, advice))
    else:
        found.append(Finding("memory", "ok", said))
    return found


async def _config(link: Link, name: str) -> str:
    try:
        reply = await link.one("CONFIG", "GET", name)
    except ResponseError:
        return ""
    return str(reply[1].decode()) if reply else ""


async def scripts(link: Link, settings: Settings, info: Answers) -> list[Finding]:
    try:
        await load(link, SCRIPTS)
    except ResponseError as error:
        return [
            Finding(
                "scripts",
                "fail",
                str(error),
                "the consumer works by scripts: +script|load +evalsha",
            )
        ]
    return [Finding("scripts", "ok", f"{len(SCRIPTS)} loaded")]


async def streams(link: Link, settings: Settings, info: Answers) -> list[Finding]:
    found = []
    for what, name in (("stream", settings.stream), ("dead letters", settings.dead_stream)):
        kind = (await link.one("TYPE", name)).decode()
        if kind not in {"stream", "none"}:
            advice = f"move the key {name} away, or set another name"
            return [Finding(what, "fail", f"{name} is a {kind}", advice)]
    if not await link.one("EXISTS", settings.stream):
        return [Finding("group", "ok", "no stream yet; the first consumer makes both")]
    rows = [named(row) for row in await link.one("XINFO", "GROUPS", settings.stream)]
    ours = next((row for row in rows if row["name"] == settings.group.encode()), None)
    if ours is None:
        return [Finding("group", "ok", "not there yet; the first consumer makes it, at the start")]
    found.append(_start(ours, settings))
    return found


def _start(group: dict[str, Any], settings: Settings) -> Finding:
    """A group that was made at `$` or set onwards has read nothing of what stands before it."""
    delivered = group["last-delivered-id"].decode()
    if delivered != "0-0" and not group.get("entries-read"):
        advice = (
            f"what stood before {delivered} was never delivered; to read it (what is persisted is "
            f"recognised): XGROUP SETID {settings.stream} {settings.group} 0"
        )
        return Finding("group", "fail", "made past the start of the stream", advice)
    return Finding("group", "ok", f"read up to {delivered}")


CHECKS = (version, role, persistence, memory, scripts, streams)
