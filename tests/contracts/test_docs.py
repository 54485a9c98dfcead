"""The docs are run: every command and every example in them, against real parts."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import redis
import yaml

from consumer.settings import Settings
from producers import samples
from tests.kit import DEAD, STREAM, ConsumerProcess, settled, until

TOP = Path(__file__).parents[2]
PAGES = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


COMMANDS = sorted(
    {
        line.removeprefix("$ ")
        for page in PAGES
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
        seed = [sys.executable, "-m", "consumer.cli", "publish", "cycle.ndjson"]
        subprocess.run(seed, cwd=tmp_path, env=workplace, check=True, capture_output=True)
        await until(lambda: settled(client))
        subprocess.run(
            command, shell=True, cwd=tmp_path, env=workplace, check=True, capture_output=True
        )


def _check_compose(words: list[str]) -> None:
    services = yaml.safe_load((TOP / "compose.yaml").read_text())["services"]
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
            assert client.xlen(STREAM) == 8


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
