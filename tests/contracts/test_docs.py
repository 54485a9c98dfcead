"""The docs are run: every command and every example in them, against real parts."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis
import yaml

from consumer.settings import Settings
from producers import samples
from tests.kit import DEAD, STREAM, ConsumerProcess, regions, settled, until

TOP = Path(__file__).parents[2]
PAGES = [TOP / "README.md", *sorted((TOP / "docs").glob("**/*.md"))]
GENERATED = TOP / "docs" / "cli.md"
# Ids in the examples, and the run that the examples know.
ENTRY_ID, DEAD_ID, SNAPSHOT_ID = "1795383064679-0", "1795383064912-0", "01a203d0051a-6ccc4e0f43cd"
CYCLE = "2026-11-22T06:00Z"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


COMMANDS = sorted(
    {
        line.removeprefix("$ ")
        for page in PAGES
        if page != GENERATED
        for block in blocks(page, "console")
        for line in block.splitlines()
        if line.startswith("$ ")
    }
)


@pytest.fixture
def workplace(url: str, tmp_path: Path) -> dict[str, str]:
    """A directory with the files that the examples name, and the environment they run in."""
    (tmp_path / "cycle.ndjson").write_bytes(b"\n".join(map(samples.to_json, samples.cycle())))
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    return {**os.environ, "REDIS_URL": url, "PYTHONPATH": str(TOP), "HOME": str(tmp_path)}


@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command(
    command: str, url: str, client: redis.Redis, tmp_path: Path, workplace: dict[str, str]
) -> None:
    command = command.replace("redis://localhost:6379/0", url)
    words = shlex.split(command)
    while "=" in words[0]:
        words.pop(0)
    if words[0] == "export":
        return
    if words[:2] == ["docker", "compose"]:
        _check_compose(words[2:])
        return
    if words[0] == "kubectl":
        assert words[1:3] == ["apply", "-f"]
        assert list((TOP / words[3]).glob("*.yaml"))
        return
    if words[0] == "redis-cli":
        if not shutil.which("redis-cli"):
            pytest.skip("redis-cli is not on this machine")
        command = f"redis-cli -u {url} {shlex.join(words[1:])}"
    if words[-1] == "consume":
        regions = Path(sys.executable).parent / Path(words[0]).name
        with ConsumerProcess(url, str(regions), *words[1:]) as consumer:
            client.xadd(STREAM, {"snapshot": samples.to_json(samples.snapshot("mena"))})
            await until(lambda: settled(client), what=consumer.output)
        return
    with ConsumerProcess(url):
        seed = [
            sys.executable,
            "-m",
            "consumer.cli",
            "publish",
            "cycle.ndjson",
            "--wait",
            "--cycle",
            CYCLE,
        ]
        subprocess.run(seed, cwd=tmp_path, env=workplace, check=True, capture_output=True)
        if " dead " in command:
            client.xadd(STREAM, {"snapshot": b"broken"})
            await until(lambda: client.xlen(DEAD))
            (dead_id,) = [i.decode() for i, _ in client.xrange(DEAD)]
            command = command.replace(DEAD_ID, dead_id)
            (tmp_path / "letters.ndjson").write_text("")
        newest = client.get("intelligence:snapshot:v1:mena:latest")
        command = command.replace(SNAPSHOT_ID, newest.decode())
        command = command.replace(ENTRY_ID, client.xrange(STREAM)[0][0].decode())
        if " doctor" in command:
            client.config_set("appendonly", "yes")
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=workplace, capture_output=True)
        client.config_set("appendonly", "no")
    assert done.returncode == (1 if "--dry-run" in command else 0), (done.stdout, done.stderr)


def _check_compose(words: list[str]) -> None:
    services = yaml.safe_load((TOP / "compose.yaml").read_text())["services"]
    if words[0] == "--profile":
        assert any(words[1] in service.get("profiles", []) for service in services.values())
        words = words[2:]
    assert words[0] == "up"
    for word in words[1:]:
        if "=" in word:
            assert word.partition("=")[0] in services


@pytest.fixture
async def consumed(url: str, client: redis.Redis):  # type: ignore[no-untyped-def]
    """Runs what comes before it is left through a real consumer; nothing may go wrong."""
    with ConsumerProcess(url):
        yield
        await until(lambda: client.exists(STREAM) and settled(client))
    assert client.xlen(STREAM) >= 1
    assert client.xlen(DEAD) == 0


@pytest.mark.usefixtures("consumed")
def test_the_python_example(tmp_path: Path, workplace: dict[str, str]) -> None:
    (example,) = blocks(TOP / "README.md", "python")
    subprocess.run([sys.executable, "-c", example], cwd=tmp_path, env=workplace, check=True)


@pytest.mark.usefixtures("consumed")
def test_the_redis_cli_example(tmp_path: Path, workplace: dict[str, str]) -> None:
    if not shutil.which("redis-cli"):
        pytest.skip("redis-cli is not on this machine")
    (example,) = blocks(TOP / "README.md", "sh")
    subprocess.run(["bash", "-ec", example], cwd=tmp_path, env=workplace, check=True)


def test_the_node_example(
    tmp_path: Path, workplace: dict[str, str], request: pytest.FixtureRequest
) -> None:
    if not shutil.which("npm"):
        pytest.skip("Node is not on this machine")
    (example,) = blocks(TOP / "README.md", "js")
    (tmp_path / "publish.mjs").write_text(example)
    install = ["npm", "install", "--no-audit", "--no-fund", "--silent", "redis@5"]
    done = subprocess.run(install, cwd=tmp_path, env={**workplace, "HOME": os.environ["HOME"]})
    if done.returncode:
        pytest.skip("the npm registry cannot be reached from this machine")
    request.getfixturevalue("client")
    url = workplace["REDIS_URL"]
    with ConsumerProcess(url):
        subprocess.run(["node", "publish.mjs"], cwd=tmp_path, env=workplace, check=True)
        with redis.Redis.from_url(url) as client:
            entries = [fields for _, fields in client.xrange(STREAM)]
            assert len(entries) == 8
            traces = {fields[b"traceparent"].decode()[3:35] for fields in entries}
            tail = [sys.executable, "-m", "consumer.cli", "explain", "mena", "--json"]
            deadline = time.monotonic() + 20
            while True:
                told = subprocess.run(tail, env=workplace, capture_output=True, check=False).stdout
                if told and set(json.loads(told)["trace_ids"]) <= traces:
                    break
                assert time.monotonic() < deadline, told


def test_what_is_generated_is_current() -> None:
    """The AsyncAPI document, the JSON Schema and the commands' page are what the code says."""
    for which, name in (
        ("asyncapi", "asyncapi.json"),
        ("schema", "snapshot.schema.json"),
        ("cli", "cli.md"),
    ):
        done = regions("docs", which)
        assert done.returncode == 0
        assert (TOP / "docs" / name).read_bytes() == done.stdout, (
            f"regions docs {which} -o docs/{name}"
        )


def test_the_schema_takes_what_we_take() -> None:
    import jsonschema

    validator = jsonschema.Draft202012Validator(
        json.loads((TOP / "docs/snapshot.schema.json").read_text())
    )
    for document in samples.cycle():
        validator.validate(document)
        document["regime"]["label"] = "a_new_word"
        validator.validate(document)
        for broken in (
            document | {"region_id": "Not A Region"},
            document | {"evidence": "none"},
            document | {"generated_at": -1},
        ):
            assert not validator.is_valid(broken)
    asyncapi = json.loads((TOP / "docs/asyncapi.json").read_text())
    message = asyncapi["components"]["messages"]["RegionEvents:SubscribeMessage"]
    assert message["payload"] == {"$ref": "#/components/schemas/Snapshot"}
    schema = {"$ref": "#/components/schemas/Snapshot", "components": asyncapi["components"]}
    jsonschema.Draft202012Validator(schema).validate(samples.snapshot("mena"))


def test_every_setting_is_in_the_readme_with_its_default() -> None:
    table = dict(
        re.findall(
            r"^\| `((?:REGIONS|REDIS)_\w+)` \| (.*?) \|", (TOP / "README.md").read_text(), re.M
        )
    )
    assert set(table) == {
        "REDIS_URL" if name == "redis_url" else f"REGIONS_{name.upper()}"
        for name in Settings.model_fields
    }
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, int | str):
            said = table["REDIS_URL" if name == "redis_url" else f"REGIONS_{name.upper()}"]
            assert said.strip("`") == str(field.default)


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_dockerfile_copies_what_there_is() -> None:
    text = (TOP / "Dockerfile").read_text()
    for line in re.findall(r"^COPY (?!--)(.*)", text, re.M):
        *sources, _ = line.split()
        for source in sources:
            assert (TOP / source).exists(), source
    assert re.search(r"^USER (?!root)", text, re.M)
