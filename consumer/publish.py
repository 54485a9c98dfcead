"""`regions publish`: files in, entries out; in flat memory, and nothing sent when one is bad."""

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from consumer.events import Fault, check
from consumer.settings import Settings
from otel.instruments import PRODUCER_SERVICE
from otel.setup import tracing
from producers.files import Unreadable, read
from producers.publisher import InvalidSnapshots, RegionPublisher
from producers.receipts import Receipt

MOST_SHOWN = 20


class Report(NamedTuple):
    """What was done; `--json` prints it. invalid: how many; faults: one line each, at most 20;
    receipts: with --wait, what became of each entry."""

    published: int
    invalid: int
    cycle: str
    faults: list[str]
    entry_ids: list[str]
    receipts: list[Receipt]


class _Source(NamedTuple):
    name: str
    file: BinaryIO
    size: int


async def publish_files(
    paths: list[Path],
    settings: Settings,
    console: Console,
    *,
    cycle: str | None,
    keep_going: bool,
    durable: bool,
    wait_s: float = 0,
) -> Report:
    """Check everything first, then send; with keep_going send what is valid.

    Raises OSError for a file that cannot be read, and what RegionPublisher.publish raises.
    """
    traced = tracing(PRODUCER_SERVICE)
    cycle = cycle or time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    publisher = RegionPublisher(
        settings.redis_url,
        stream=settings.stream,
        rules=settings.rules,
        transaction=settings.transaction,
        durable=durable,
        tracer_provider=traced.provider,
    )
    entry_ids: list[str] = []
    faults: list[str] = []
    told: list[Receipt] = []
    invalid = 0
    try:
        with ExitStack() as stack:
            sources = [stack.enter_context(_opened(path)) for path in paths]
            bar = stack.enter_context(_progress(console))
            for fault in _faults(sources, settings, bar):
                invalid += 1
                faults += [fault] if invalid <= MOST_SHOWN else []
            if not invalid or keep_going:
                async with publisher:
                    for batch in _batches(sources, settings.transaction, bar):
                        entry_ids += await _publish_valid(publisher, batch, cycle)
                    if wait_s:
                        told = await publisher.receipts(entry_ids, wait_s)
    finally:
        traced.shutdown()
    return Report(len(entry_ids), invalid, cycle, faults, entry_ids, told)


async def _publish_valid(publisher: RegionPublisher, batch: list[bytes], cycle: str) -> list[str]:
    try:
        return await publisher.publish(batch, cycle=cycle)
    except InvalidSnapshots as error:  # nothing was sent; these were reported before
        bad = {position for position, _ in error.faults}
        return await publisher.publish(
            [raw for position, raw in enumerate(batch) if position not in bad], cycle=cycle
        )


@contextmanager
def _opened(path: Path) -> Iterator[_Source]:
    """A file, or standard input laid down in a temporary file: it is read twice."""
    if str(path) != "-":
        with path.open("rb") as file:
            yield _Source(str(path), file, path.stat().st_size)
        return
    with tempfile.TemporaryFile() as spool:
        shutil.copyfileobj(sys.stdin.buffer, spool)
        yield _Source("standard input", spool, spool.tell())


def _faults(sources: list[_Source], settings: Settings, bar: Progress) -> Iterator[str]:
    """Where, which field, what is wrong: one line for each invalid snapshot."""
    now_ms = time.time_ns() // 1_000_000
    task = bar.add_task("checking", total=sum(source.size for source in sources))
    for source in sources:
        try:
            for number, raw in _lines(source, bar, task):
                verdict = check(raw, settings.rules, now_ms)
                if isinstance(verdict, Fault):
                    yield f"{source.name}:{number}: {verdict.message}"
        except Unreadable as error:
            yield f"{source.name}: {error}"


def _batches(sources: list[_Source], size: int, bar: Progress) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    task = bar.add_task("publishing", total=sum(source.size for source in sources))
    for source in sources:
        try:
            for _, raw in _lines(source, bar, task):
                batch.append(raw)
                if len(batch) == size:
                    yield batch
                    batch = []
        except Unreadable:  # reported before
            continue
    if batch:
        yield batch


def _lines(source: _Source, bar: Progress, task: TaskID) -> Iterator[tuple[int, bytes]]:
    source.file.seek(0)
    for number, raw in read(source.file):
        bar.advance(task, len(raw) + 1)
        yield number, raw


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:>10}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
