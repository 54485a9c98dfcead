"""`regions doctor`: what is wrong with a server before it costs a region."""

import os
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from consumer.link import Link, RedisError, ResponseError, code_of
from consumer.lookup import named
from consumer.rights import needed
from consumer.scripts import load
from consumer.settings import Settings
from consumer.store import SCRIPTS

LOCAL = {"localhost", "127.0.0.1", "::1", ""}
OLDEST = (7, 0)
CLOCK_WARN_S, CLOCK_FAIL_S = 5.0, 300.0


class Finding(NamedTuple):
    """level: ok, warn or fail; advice: what to do, empty when nothing."""

    check: str
    level: str
    said: str
    advice: str = ""


Answers = dict[str, str]


async def examine(settings: Settings, role: str) -> list[Finding]:
    """All checks, in order; without a server the ones that need it are left out."""
    link = Link(settings.redis_url)
    findings = [transport(settings.redis_url), await collector()]
    try:
        before = time.time()
        reply = await link.one("TIME")
        findings.append(clocks(int(reply[0]) + int(reply[1]) / 1e6, before, time.time()))
    except ResponseError as error:
        findings.append(
            Finding("server", "fail", f"it refuses: {error}", "look at user, password and rights")
        )
        if code_of(error) in {"WRONGPASS", "NOAUTH"}:
            return findings
    except (RedisError, OSError) as error:
        advice = "start it, or set REDIS_URL"
        return [*findings, Finding("server", "fail", f"cannot be reached: {error}", advice)]
    try:
        info = await _info(link)
        checks: list[Callable[[Link, Settings, Answers], Awaitable[list[Finding]]]] = [
            _version, _role, _persistence, _memory, _scripts, _streams,
        ]  # fmt: skip
        for check in checks:
            try:
                findings += await check(link, settings, info)
            except ResponseError as error:
                name = check.__name__.removeprefix("_")
                findings.append(
                    Finding(name, "warn", f"cannot be checked: {error}", "ask with more rights")
                )
        findings += await _rights(link, settings, role)
    finally:
        await link.close()
    return findings


def transport(url: str) -> Finding:
    parts = urlsplit(url)
    if parts.scheme == "rediss":
        unverified = "ssl_cert_reqs=none" in parts.query
        if unverified:
            return Finding(
                "tls", "warn", "the server's certificate is not verified", "drop ssl_cert_reqs=none"
            )
        return Finding("tls", "ok", "encrypted, and the certificate is verified")
    if parts.scheme == "unix" or (parts.hostname or "") in LOCAL:
        return Finding("tls", "ok", "not needed on this machine's own interface")
    advice = "rediss:// with the server's CA (docs/security.md)"
    return Finding("tls", "warn", "passwords and snapshots cross the network in the clear", advice)


def clocks(server_s: float, before_s: float, after_s: float) -> Finding:
    """The server's clock beside ours, which moved on while we asked."""
    off = max(before_s - server_s, server_s - after_s, 0.0)
    said = f"{off:.1f} s apart"
    if off > CLOCK_WARN_S:
        level = "fail" if off > CLOCK_FAIL_S else "warn"
        return Finding(
            "clock",
            level,
            said,
            "synchronise both (NTP): ages and 'a day ahead' are judged by them",
        )
    return Finding("clock", "ok", said)


async def collector() -> Finding:
    endpoint = next(
        (
            v
            for n in ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
            if (v := os.environ.get(n))
        ),
        "",
    )
    if not endpoint:
        return Finding("collector", "ok", "none set: no traces are exported")
    parts = urlsplit(endpoint)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=2):
            return Finding("collector", "ok", f"{parts.hostname}:{port} answers")
    except OSError as error:
        advice = "events are processed all the same; traces are lost until it is back"
        return Finding("collector", "warn", f"{parts.hostname}:{port}: {error}", advice)


async def _info(link: Link) -> Answers:
    try:
        text = (await link.one("INFO")).decode("utf-8", "replace")
    except ResponseError:
        return {}
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


async def _version(link: Link, settings: Settings, info: Answers) -> list[Finding]:
    version = info.get("redis_version")
    if version is None:
        return [
            Finding("version", "warn", "cannot be checked: INFO is refused", "give this user +info")
        ]
    ours = f"{info.get('server_name', 'redis')} {info.get('valkey_version', version)}"
    if tuple(map(int, version.split(".")[:2])) < OLDEST:
        return [Finding("version", "fail", ours, "Redis 7.0 or later, or Valkey")]
    return [Finding("version", "ok", ours)]


async def _role(link: Link, settings: Settings, info: Answers) -> list[Finding]:
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


async def _persistence(link: Link, settings: Settings, info: Answers) -> list[Finding]:
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


async def _memory(link: Link, settings: Settings, info: Answers) -> list[Finding]:
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


async def _scripts(link: Link, settings: Settings, info: Answers) -> list[Finding]:
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


async def _streams(link: Link, settings: Settings, info: Answers) -> list[Finding]:
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


async def _rights(link: Link, settings: Settings, role: str) -> list[Finding]:
    """Ask the server, by ACL DRYRUN, for everything that the role does."""
    try:
        me = (await link.one("ACL", "WHOAMI")).decode()
        asked = needed(settings, role)
        replies = await link.call([("ACL", "DRYRUN", me, *command) for command in asked])
    except ResponseError as error:
        return [
            Finding(
                "rights",
                "warn",
                f"cannot be checked: {error}",
                "+acl|whoami +acl|dryrun, or ask as a user who has them",
            )
        ]
    missing = [
        " ".join(command[:2])
        for command, reply in zip(asked, replies, strict=True)
        if reply != b"OK"
    ]
    if missing:
        advice = "deploy/users.acl has a user for each role"
        return [Finding("rights", "fail", f"{me} may not {', '.join(missing)}", advice)]
    return [Finding("rights", "ok", f"{me} may do all that a {role} does")]
