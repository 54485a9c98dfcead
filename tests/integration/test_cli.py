"""`regions` as a person or a script uses it."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from bench.servers import free_port
from consumer.events import REGIONS
from producers import samples
from tests.kit import STREAM, MakeRoad, regions


def ndjson(documents: list[dict[str, Any]]) -> bytes:
    return b"\n".join(samples.to_json(document) for document in documents) + b"\n"


def test_publish_files_and_standard_input(url: str, client: redis.Redis, tmp_path: Path) -> None:
    cycle = samples.cycle()
    lines, array = tmp_path / "a.ndjson", tmp_path / "b.json"
    lines.write_bytes(ndjson(cycle[:4]))
    array.write_bytes(json.dumps(cycle[4:], indent=1).encode())
    done = regions("publish", str(lines), str(array), "--json", REDIS_URL=url)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["published"], report["invalid"]) == (8, 0)
    assert len(report["entry_ids"]) == 8
    done = regions("publish", "-", "--redis-url", url, given=ndjson(cycle))
    assert done.returncode == 0
    assert b"published 8 snapshots" in done.stderr
    assert client.xlen(STREAM) == 16


def test_an_invalid_line_and_nothing_is_sent(url: str, client: redis.Redis, tmp_path: Path) -> None:
    cycle = samples.cycle()
    cycle[2]["balance"]["net_balance"] = 5
    file = tmp_path / "cycle.ndjson"
    file.write_bytes(ndjson(cycle) + b"not json\n")
    done = regions("publish", str(file), REDIS_URL=url)
    assert done.returncode == 1
    said = done.stderr.decode()
    assert f"{file}:3: balance.net_balance: Input should be less than or equal to 1" in said
    assert f"{file}:9: Invalid JSON" in said
    assert "nothing was sent" in said
    assert not client.exists(STREAM)
    done = regions("publish", str(file), "--keep-going", REDIS_URL=url)
    assert done.returncode == 1
    assert client.xlen(STREAM) == 7


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "said"),
    [
        (["publish", "/no/such/file"], {}, 1, "No such file"),
        (["latest", "atlantis"], {}, 2, "no such region: atlantis"),
        (["latest"], {"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}, 1, "Is the server running?"),
        (["publish", "-"], {"REGIONS_BATCH": "x"}, 2, "REGIONS_BATCH is 'x'"),
        (["consume"], {"REDIS_URL": "nonsense"}, 2, "REDIS_URL must begin with"),
        (["nonsense"], {}, 2, "No such command"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(
    arguments: list[str], environment: dict[str, str], status: int, said: str
) -> None:
    done = regions(*arguments, given=b"", **environment)
    assert done.returncode == status, done.stderr
    assert said in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
    assert ("Is the server running?" in done.stderr.decode()) == ("server" in said)


async def test_latest(url: str, client: redis.Redis, make_road: MakeRoad) -> None:
    road = await make_road()
    document = samples.snapshot("mena")
    road.add(document)
    await road.run()
    done = regions("latest", "mena", "--json", REDIS_URL=url)
    assert done.returncode == 0
    (row,) = json.loads(done.stdout)
    assert row["snapshot"] == document
    done = regions("latest", REDIS_URL=url)
    assert done.returncode == 1, "seven regions have none"
    said = done.stdout.decode()
    assert said.count("none persisted") == 7
    assert all(region in said for region in REGIONS)
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.parametrize(
    "command",
    [
        [], ["publish"], ["consume"], ["latest"], ["demo"], ["status"], ["explain"], ["tail"],
        ["cycle"], ["doctor"], ["docs"], ["dead", "list"], ["dead", "show"], ["dead", "replay"],
        ["dead", "edit"], ["dead", "discard"], ["dead", "export"], ["dead", "import"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_help_has_examples(command: list[str]) -> None:
    done = regions(*command, "--help")
    assert done.returncode == 0
    example = f"regions {' '.join(command)}".encode()
    assert not command or done.stdout.count(example) >= 2, "in its usage, and in an example"


def test_completion() -> None:
    """As bash asks for it; --install-completion puts this into its start-up file."""
    asked = {
        "_REGIONS_COMPLETE": "complete_bash",
        "COMP_WORDS": "regions dead re",
        "COMP_CWORD": "2",
    }
    assert regions(**asked).stdout.split() == [b"replay"]
    asked |= {"COMP_WORDS": "regions st", "COMP_CWORD": "1"}
    assert regions(**asked).stdout.split() == [b"status"]


def test_version() -> None:
    assert regions("--version").stdout.startswith(b"region-stream ")


def test_demo_shows_everything_and_leaves_nothing() -> None:
    started = time.time()
    done = regions("demo")
    said = done.stdout.decode()
    assert done.returncode == 0, done.stderr
    for word in ("persisted", "superseded", "duplicate", "dead_lettered", "undecodable",
                 "balance.net_balance", "send region-events", "persist", "What to try next", *REGIONS):  # fmt: skip
        assert word in said, word
    assert said.count("persisted") >= 8
    assert max(map(len, said.splitlines())) <= 80
    assert _younger_than(started) == []


def _younger_than(started: float) -> list[str]:
    """Demo processes that outlived it: the demo's server and consumers start after `started`."""
    import psutil

    left = []
    for process in psutil.process_iter(["create_time", "cmdline", "environ"]):
        line = " ".join(process.info["cmdline"] or [])
        if process.info["create_time"] >= started and "regions-demo-" in line:
            left.append(line)
    return left
