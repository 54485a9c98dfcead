"""Alerts by promtool; every query of the dashboard by a real Prometheus that scrapes a real
consumer under load."""

import asyncio
import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from bench.servers import free_port
from producers import samples
from producers.publisher import RegionPublisher
from tests.kit import STREAM, ConsumerProcess, until

TOP = Path(__file__).parents[2]
OTEL = TOP / "otel"
DASHBOARD = json.loads((OTEL / "grafana/dashboards/region-stream.json").read_text())
RULES = [
    r for g in yaml.safe_load((OTEL / "alerts.yaml").read_text())["groups"] for r in g["rules"]
]

pytestmark = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="prometheus and promtool are not on this machine (Debian: apt-get install prometheus)",
)


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=OTEL, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_and_their_tests() -> None:
    promtool("check", "rules", "alerts.yaml")
    promtool("check", "config", "prometheus.yaml")
    promtool("test", "rules", "alerts_test.yaml")


def test_each_alert_is_tested_both_ways() -> None:
    tests = yaml.safe_load((OTEL / "alerts_test.yaml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    for rule in RULES:
        fires = {bool(c["exp_alerts"]) for c in cases if c["alertname"] == rule["alert"]}
        assert fires == {True, False}, rule["alert"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_that_is_off_fails_its_test(rule: dict[str, Any], tmp_path: Path) -> None:
    """The tests above can fail: with one rule's comparison moved out of reach they do."""
    text = (OTEL / "alerts.yaml").read_text()
    head, _, rest = text.partition(f"- alert: {rule['alert']}\n")
    body, mark, tail = rest.partition("labels:")
    broken = re.sub(
        r"(> |== |>= )[\d *]+",
        r"> 9e15 ",
        body.replace("absent(region_consumers)", "vector(1) > 2"),
    )
    (tmp_path / "alerts.yaml").write_text(f"{head}- alert: {rule['alert']}\n{broken}{mark}{tail}")
    shutil.copy(OTEL / "alerts_test.yaml", tmp_path)
    done = subprocess.run(
        ["promtool", "test", "rules", "alerts_test.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert rule["alert"] in done.stdout + done.stderr


def test_each_alert_has_its_page() -> None:
    pages = {page.stem for page in (TOP / "docs" / "alerts").glob("*.md")}
    assert {rule["alert"] for rule in RULES} == pages
    for rule in RULES:
        assert rule["annotations"]["runbook_url"] == f"docs/alerts/{rule['alert']}.md"
        text = (TOP / rule["annotations"]["runbook_url"]).read_text()
        for part in ("## What it means", "## What to look at", "## What to do"):
            assert part in text, (rule["alert"], part)


@contextmanager
def prometheus(targets: list[int], folder: Path) -> Iterator[str]:
    """A real Prometheus that scrapes these ports; yields its URL."""
    config = yaml.safe_load((OTEL / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    config["rule_files"] = [str(OTEL / "alerts.yaml")]
    (job,) = config["scrape_configs"]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in targets]}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    process = subprocess.Popen(
        [
            "prometheus", f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def query(base: str, expression: str) -> list[Any]:
    url = f"{base}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return list(json.load(answer)["data"]["result"])
    except urllib.error.HTTPError as error:
        if error.code == 503:  # it is still starting
            return []
        raise AssertionError(f"{expression}: {error.read().decode()}") from None
    except OSError:
        return []


@asynccontextmanager
async def load(url: str, client: redis.Redis) -> AsyncIterator[None]:
    """Cycle after cycle, each with a broken one, until it is left."""

    async def publish() -> None:
        async with RegionPublisher(url) as publisher:
            while True:
                await publisher.publish(samples.cycle())
                client.xadd(STREAM, {"snapshot": b"broken"})
                await asyncio.sleep(0.05)

    task = asyncio.create_task(publish())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_every_query_of_the_dashboard(url: str, client: redis.Redis, tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    queries = {
        target["expr"].replace("$__rate_interval", "5s")
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    }
    assert len(queries) >= 20
    with (
        ConsumerProcess(url, REGIONS_HTTP=f"127.0.0.1:{ports[0]}"),
        ConsumerProcess(url, REGIONS_HTTP=f"127.0.0.1:{ports[1]}"),
        prometheus(ports, tmp_path) as base,
    ):
        async with load(url, client):
            for expression in sorted(queries):

                async def answered(expression: str = expression) -> bool:
                    rows = await asyncio.to_thread(query, base, expression)
                    return any(row["value"][1] != "NaN" for row in rows)

                await until(answered, 30, expression)
            ups = await asyncio.to_thread(query, base, "up")
            assert [row["value"][1] for row in ups] == ["1", "1"]
            freshness = await asyncio.to_thread(
                query, base, "max by (region_id) (region_snapshot_age_seconds)"
            )
            assert len(freshness) == 8
            pending = 'ALERTS{alertname="DeadLettersOpen"}'
            await until(lambda: asyncio.to_thread(query, base, pending), 30, "the rules speak")


def test_the_dashboard_leads_to_jaeger_and_is_provisioned() -> None:
    text = json.dumps(DASHBOARD)
    assert "http://localhost:16686/search?service=region-consumer" in text
    sources = yaml.safe_load(
        (OTEL / "grafana/provisioning/datasources/datasources.yaml").read_text()
    )
    known = {source["uid"] for source in sources["datasources"]}
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} <= known
    providers = yaml.safe_load(
        (OTEL / "grafana/provisioning/dashboards/dashboards.yaml").read_text()
    )
    assert providers["providers"][0]["options"]["path"] == "/var/lib/grafana/dashboards"
