"""What the house promises of itself: layout, names, sizes, conventions."""

import json
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from faststream.redis import RedisBroker
from opentelemetry.semconv._incubating.attributes import db_attributes, messaging_attributes
from opentelemetry.semconv._incubating.metrics import messaging_metrics
from opentelemetry.semconv.attributes import error_attributes

from otel import instruments

TOP = Path(__file__).parents[2]
SOURCES = [
    path for package in ("consumer", "producers", "otel") for path in (TOP / package).rglob("*.py")
]


@pytest.mark.parametrize("package", ["consumer", "producers", "otel"])
def test_no_other_distribution_ships_these_names(package: str) -> None:
    """They are generic: this is a service, installed alone."""
    assert set(packages_distributions()[package]) == {"region-stream"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_files_stay_small(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= 320, f"{path.name} has {lines} lines: it does too much"


def test_our_names_are_the_conventions_where_they_have_one() -> None:
    known = {
        value
        for module in (messaging_attributes, db_attributes, error_attributes, messaging_metrics)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str)
    }
    ours = {
        value
        for name, value in vars(instruments).items()
        if name.isupper() and isinstance(value, str) and "." in value
    }
    standard = {name for name in ours if name.split(".")[0] in {"messaging", "db", "error"}}
    assert standard <= known
    assert {name.split(".")[0] for name in ours - standard} == {"region", "snapshot", "cycle"}


def test_every_attribute_of_ours_is_in_the_table_of_the_on_call_engineer() -> None:
    page = (TOP / "docs" / "tracing.md").read_text()
    ours = {
        value
        for name, value in vars(instruments).items()
        if name.isupper()
        and isinstance(value, str)
        and value.startswith(("region.", "snapshot.", "cycle."))
        and not name.endswith("_METRIC")
        and name != "WORD_PATH"
    }
    assert {name for name in ours if f"| `{name}`" not in page} == set()


def test_every_metric_is_in_its_table() -> None:
    page = (TOP / "docs" / "metrics.md").read_text()
    ours = {value for name, value in vars(instruments).items() if name.endswith("_METRIC")}
    assert {name for name in ours if f"| `{name}`" not in page} == set()


def test_the_links_of_the_ui_begin_at_attributes_there_are() -> None:
    patterns = json.loads((TOP / "otel" / "jaeger-ui.json").read_text())["linkPatterns"]
    known = {value for value in vars(instruments).values() if isinstance(value, str)}
    assert [p["key"] for p in patterns if p["key"] not in known] == []
    for pattern in patterns:
        assert f"#{{{pattern['key']}}}" in pattern["url"]


def test_the_hook_by_which_faststream_makes_its_connections() -> None:
    """consumer/reader.py hangs on it. When this fails, read FastStream's changes first."""
    assert "_make_connection_state" in vars(RedisBroker)


def test_importing_the_app_module_reads_no_settings() -> None:
    code = "import consumer.app"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"REGIONS_BATCH": "wrong"}, cwd=TOP, check=False
    )
    assert done.returncode == 0
