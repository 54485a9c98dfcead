"""`regions doctor`: what is wrong with a server before it costs a region."""

import os
import socket
import time
from urllib.parse import urlsplit

from consumer.link import Link, RedisError, ResponseError, code_of
from consumer.rights import needed
from consumer.servercheck import CHECKS, Finding, info_of
from consumer.settings import Settings

LOCAL = {"localhost", "127.0.0.1", "::1", ""}
CLOCK_WARN_S, CLOCK_FAIL_S = 5.0, 300.0


async def examine(settings: Settings, role: str) -> list[Finding]:
    """All checks, in order; without a server the ones that need it are left out."""
    link = Link(settings.redis_url)
    try:
        return [
            transport(settings.redis_url),
            await collector(),
            *await _server(link, settings, role),
        ]
    finally:
        await link.close()


async def _server(link: Link, settings: Settings, role: str) -> list[Finding]:
    findings = []
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
        return [Finding("server", "fail", f"cannot be reached: {error}", advice)]
    info = await info_of(link)
    for check in CHECKS:
        try:
            findings += await check(link, settings, info)
        except ResponseError as error:
            findings.append(
                Finding(
                    check.__name__, "warn", f"cannot be checked: {error}", "ask with more rights"
                )
            )
    return [*findings, *await _rights(link, settings, role)]


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
