"""Short, seeded runs of what `make chaos` and `make fuzz` do for as long as one likes."""

from rich.progress import Progress

from bench.chaos import run_chaos
from bench.fuzz import run

QUIET = {"disable": True}


def test_chaos() -> None:
    report = run_chaos(6000, minutes=2, seed=11, progress=Progress(**QUIET))  # type: ignore[arg-type]
    assert report["published"] >= 6000
    assert report["faults"] >= 4
    assert (report["lost"], report["doubled"], report["turned_back"]) == (0, 0, 0), report
    assert report["ok"], report


def test_fuzz() -> None:
    report = run(5000, seed=11, progress=Progress(**QUIET))  # type: ignore[arg-type]
    assert report["dead_lettered"] == 5000
    assert report["ok"], report
