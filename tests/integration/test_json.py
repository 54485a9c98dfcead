"""docs/json.md is what the commands print."""

import json
import re
from pathlib import Path
from typing import Any

import redis

from producers import samples
from tests.kit import DEAD, STREAM, ConsumerProcess, regions, said, settled, until

PAGE = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
SECTIONS = dict(re.findall(r"^## (regions .*?)\n\n(.*?)(?=\n## |\Z)", PAGE, re.M | re.S))


def promised(command: str) -> tuple[set[str], dict[str, set[str]]]:
    """The top-level fields, and those of the objects in them, as the page has them."""
    text, inner = SECTIONS[command], {}
    for name, part in re.findall(
        r"`(\w+)` \((?:[^()]|\([^()]*\))*?each\s+((?:[^()]|\([^()]*\))*)\)", text
    ):
        inner[name] = set(re.findall(r"`(\w+)`", re.sub(r"\([^()]*\)", "", part)))
    outer = re.sub(r"\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)", "", text.partition(":")[2])
    return set(re.findall(r"`(\w+)`", outer)), inner


def check(command: str, printed: Any) -> None:
    outer, inner = promised(command)
    rows = printed if isinstance(printed, list) else [printed]
    assert rows, command
    for row in rows:
        assert set(row) == outer, command
        for name, fields in inner.items():
            assert row[name], (command, name)
            assert set(row[name][0]) == fields, (command, name)


async def test_every_shape(url: str, client: redis.Redis) -> None:
    environment = {"REDIS_URL": url, "REGIONS_JAEGER_URL": "http://jaeger"}

    def ask(*arguments: str, given: bytes = b"") -> Any:
        return said(regions(*arguments, "--json", given=given, **environment))

    lines = b"\n".join(map(samples.to_json, samples.cycle()))
    with ConsumerProcess(url):
        await until(lambda: client.exists(STREAM))
        check("regions publish", ask("publish", "-", "--wait", "--cycle", "morning", given=lines))
        broken = samples.snapshot("mena") | {"evidence": 1}
        client.xadd(STREAM, {"snapshot": samples.to_json(broken)})
        await until(lambda: settled(client) and client.xlen(DEAD))
        await until(lambda: client.xlen(f"{STREAM}:settled") >= 2)
        check("regions latest", ask("latest"))
        report = ask("status")
        check("regions status", report)
        for name in ("consumers", "dead", "regions"):
            part = report[name] if name == "dead" else report[name][0]
            page = (Path(__file__).parents[2] / "docs/operating.md").read_text()
            (row,) = re.findall(rf"^\| `{name}` \| (.*) \|$", page, re.M)
            assert set(part) == set(re.findall(r"`(\w+)`", row)), name
        check("regions explain", ask("explain", "europe"))
        check("regions cycle", ask("cycle", "morning"))
        check("regions doctor", ask("doctor"))
        check("regions dead list", ask("dead", "list"))
        check("regions dead list --group", ask("dead", "list", "--group"))
        check("regions dead replay --dry-run", ask("dead", "replay", "--all", "--dry-run"))
        check("regions dead replay", ask("dead", "replay", "--all"))
    with ConsumerProcess(url):
        import asyncio

        tail = asyncio.create_task(
            asyncio.to_thread(regions, "tail", "--json", "--count", "1", REDIS_URL=url)
        )
        await until(lambda: any(c["cmd"] == "xread" for c in client.client_list()))
        client.xadd(STREAM, {"snapshot": samples.to_json(samples.snapshot("latam"))})
        check("regions tail", json.loads((await tail).stdout))
    assert set(SECTIONS) == {
        "regions publish", "regions latest", "regions status", "regions explain", "regions tail", "regions cycle",
        "regions doctor", "regions dead list", "regions dead list --group", "regions dead replay", "regions dead replay --dry-run",
    }  # fmt: skip
