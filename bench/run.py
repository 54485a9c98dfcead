"""`make bench`: measure everything, write docs/performance.md. `--quick` only sees that it runs."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench import measure
from bench.servers import Server
from bench.work import Work


def figures(
    count: int, rounds: int, largest: int, megabytes: int, say: measure.Say
) -> dict[str, Any]:
    """All measurements, on one server. count: events for each system and round."""
    with Server() as server, server.client as client:
        url = server.url
        found: dict[str, Any] = {
            "server": _version(client.info("server")),
            "bytes": sum(map(len, Work(64).raws())) / 64,
            "throughput": measure.throughput(client, url, count, rounds, say),
        }
        found["failing"] = measure.failing(client, url, count, rounds, say)
        say("round trips")
        found["round_trips"] = measure.round_trips(client, server, 0.1, max(rounds, 2))
        rtts, numbers = ([1, 10, 100], [1, 2, 4, 8]) if count > 1000 else ([10], [1, 2])
        found["scaling"] = measure.scaling(client, server, rtts, numbers, min(count, 600), say)
        say("latency")
        half = found["throughput"]["untraced"]["rate"] / 2
        found["latency"] = _median(
            [measure.latency(client, url, half, count / half) for _ in range(rounds)], "p99"
        )
        sizes = [size for size in (1_000, 100_000, 1_000_000) if size <= largest]
        found["growth"] = measure.growth(
            client, url, sizes or [largest], min(count, 20_000), min(largest, 100_000), say
        )
        say("recovery")
        found["recovery"] = _median([measure.recovery(client, url, count) for _ in range(rounds)])
        say("publishing")
        found["publishing"] = _median(
            [measure.publishing(client, url, count) for _ in range(rounds)]
        )
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "snapshots.ndjson")
            found["publish_file"] = measure.publish_memory(client, url, path, megabytes)
        found["profile"] = measure.profile(min(count, 400))
    return found


def _median(rows: list[dict[str, Any]], by: str = "rate") -> dict[str, Any]:
    """The row in the middle, and the range of what it was chosen by."""
    rows = sorted(rows, key=lambda row: row[by])
    return {**rows[len(rows) // 2], "low": rows[0][by], "high": rows[-1][by]}


def _version(info: dict[str, Any]) -> str:
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info['redis_version']}"


def main(
    count: Annotated[int, typer.Option(help="Events for each system and round.")] = 20_000,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds.")] = 5,
    largest: Annotated[
        int, typer.Option(help="Largest backlog; a million needs 10 GB.")
    ] = 1_000_000,
    megabytes: Annotated[int, typer.Option(help="Size of the published file.")] = 100,
    quick: Annotated[bool, typer.Option("--quick", help="Tiny, prints, writes nothing.")] = False,
) -> None:
    """Every figure of docs/performance.md, measured now."""
    console = Console(stderr=True)

    def say(text: str) -> None:
        console.print(f"… {text}", highlight=False)

    if quick:
        print(json.dumps(figures(200, 1, 300, 1, say)))
        return
    from bench.report import write

    found = figures(count, rounds, largest, megabytes, say)
    write(found, " ".join(["python -m bench.run", *sys.argv[1:]]))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    typer.run(main)
