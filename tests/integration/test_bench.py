"""The benchmarks run, and say something of each system. No figure is asserted."""

import json
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[2]


def test_every_benchmark_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.run", "--quick"], cwd=TOP, capture_output=True, text=True, timeout=170,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert set(found["throughput"]) == {
        "sequential", "faststream", "bare", "ceiling", "untraced", "1 % sampled",
        "every region traced",
    }  # fmt: skip
    assert all(row["rate"] > 0 for row in found["throughput"].values())
    for part in (
        "round_trips",
        "scaling",
        "latency",
        "growth",
        "recovery",
        "publishing",
        "failing",
        "profile",
    ):
        assert found[part], part


def test_the_producers_benchmark_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.producing", "--count", "100", "--rounds", "1"],
        cwd=TOP, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert set(json.loads(done.stdout)) == {"ok", "slow", "down", "refusing"}
