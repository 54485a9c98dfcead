"""The proof: whatever happens in whatever order, once it has settled every event is persisted, a
duplicate of a persisted one, or a dead letter; latest is the newest; each id is written once.

A hypothesis state machine drives the real pipeline, scripts and recovery on the real server. What
a crash loses is simulated where it happens: between the read and the script, or between the
script and the answer. (Real kills of real processes: tests/faults, and `make chaos`.)
"""

import asyncio
import time
from typing import Any

import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from bench.servers import Server
from consumer import keys
from consumer.decode import Entry, RegionEvent, decode
from consumer.letters import Letters
from consumer.link import Link
from consumer.outcome import Outcome, Settled
from consumer.pipeline import Pipeline
from consumer.recovery import Recovery
from consumer.settings import Settings
from consumer.store import Answer, Store
from producers import samples
from tests.kit import DEAD, GROUP, STREAM, dead_letters, settings_for

REGIONS = ("mena", "europe")
NOW = time.time_ns() // 1_000_000
consumers = st.sampled_from(["a", "b", "c"])
SERVER: list[Server] = []


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.client: redis.Redis = SERVER[0].client
        self.client.flushall()
        self.client.config_resetstat()
        self.link = Link(SERVER[0].url)
        self.documents: dict[str, dict[str, Any]] = {}
        self.broken = 0
        self.writes: list[str] = []
        self.held: list[tuple[str, list[Entry]]] = []

    @initialize()
    def group(self) -> None:
        self.run(self.store("a").load())
        self.run(self.store("a").ensure_group())

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def settings_of(self, name: str) -> Settings:
        return settings_for(SERVER[0].url, consumer=name, idle_ms=100_000, retry_s=0.1)

    def store(self, name: str) -> Store:
        return Store(self.link, self.settings_of(name))

    def letters(self) -> Letters:
        return Letters(self.link, self.settings_of("a"))

    def pipeline(self, name: str) -> Pipeline:
        return Pipeline(self.store(name), self.settings_of(name), lambda _: None)

    def note(self, settled: list[Settled]) -> None:
        self.writes += [
            s.event.snapshot_id
            for s in settled
            if s.outcome in {Outcome.PERSISTED, Outcome.SUPERSEDED}
        ]

    # What producers do

    @rule(region=st.sampled_from(REGIONS), bucket=st.integers(0, 40))
    def publish(self, region: str, bucket: int) -> None:
        at = NOW - bucket * 900_000
        document = samples.snapshot(region, at, seed=len(self.documents), evidence=1)
        self.documents[document["meta"]["snapshot_id"]] = document
        self.client.xadd(STREAM, {"snapshot": samples.to_json(document)})

    @rule(data=st.data())
    def publish_again(self, data: st.DataObject) -> None:
        if self.documents:
            chosen = data.draw(st.sampled_from(sorted(self.documents)))
            self.client.xadd(STREAM, {"snapshot": samples.to_json(self.documents[chosen])})

    @rule()
    def publish_broken(self) -> None:
        self.broken += 1
        self.client.xadd(STREAM, {"snapshot": f"broken {self.broken}"})

    # What consumers do

    def read(self, name: str, count: int) -> list[Entry]:
        found = self.client.xreadgroup(GROUP, name, {STREAM: ">"}, count)
        return [Entry(i.decode(), fields) for i, fields in (found[0][1] if found else [])]

    @rule(name=consumers, count=st.integers(1, 5))
    def deliver(self, name: str, count: int) -> None:
        self.note(self.run(self.pipeline(name).process(self.read(name, count))))

    @rule(name=consumers, other=consumers, count=st.integers(1, 5))
    def deliver_twice(self, name: str, other: str, count: int) -> None:
        entries = self.read(name, count)
        self.note(self.run(self.pipeline(name).process(entries)))
        self.note(self.run(self.pipeline(other).process(entries)))

    @rule(name=consumers, count=st.integers(1, 5))
    def crash_before_the_script(self, name: str, count: int) -> None:
        self.read(name, count)

    @rule(name=consumers, count=st.integers(1, 5))
    def lose_the_answer(self, name: str, count: int) -> None:
        """The script ran, nobody heard of it, and the same is sent again."""
        entries = self.read(name, count)
        decoded = [decode(entry, self.settings_of(name).rules, NOW) for entry in entries]
        events = [event for event in decoded if isinstance(event, RegionEvent)]
        answers = self.run(self.store(name).persist(events))
        self.note(
            [
                Settled(event, answer.outcome)
                for event, answer in zip(events, answers, strict=True)
                if isinstance(answer, Answer)
            ]
        )
        self.note(self.run(self.pipeline(name).process(entries)))

    @rule(name=consumers, count=st.integers(1, 5))
    def stall(self, name: str, count: int) -> None:
        """Holds entries in memory, goes to sleep, and wakes up much later."""
        self.held.append((name, self.read(name, count)))

    @rule()
    def wake_up(self) -> None:
        for name, entries in self.held:
            self.note(self.run(self.pipeline(name).process(entries)))
        self.held = []

    @rule(name=consumers)
    def reclaim(self, name: str) -> None:
        for pending in self.client.xpending_range(STREAM, GROUP, "-", "+", 1000):
            self.client.xclaim(
                STREAM, GROUP, pending["consumer"], 0, [pending["message_id"]], idle=10**7,
                retrycount=pending["times_delivered"], justid=True,
            )  # fmt: skip
        pipeline = self.pipeline(name)
        seen: list[Settled] = []
        process = pipeline.process

        async def noting(*args: Any, **kwargs: Any) -> list[Settled]:
            seen.extend(await process(*args, **kwargs))
            return seen

        pipeline.process = noting  # type: ignore[method-assign]
        self.run(Recovery(self.store(name), pipeline, self.settings_of(name)).claim_all())
        self.note(seen)

    @rule(name=consumers)
    def leave(self, name: str) -> None:
        self.run(self.store(name).release())

    # What happens to the server, and what people do

    @rule(region=st.sampled_from(REGIONS))
    def break_the_index(self, region: str) -> None:
        if not self.client.exists(keys.index(region)):
            self.client.set(keys.index(region), "in the way")

    @rule()
    def mend_the_indexes(self) -> None:
        for region in REGIONS:
            if self.client.type(keys.index(region)) == b"string":
                self.client.delete(keys.index(region))

    @rule()
    def the_dedup_windows_pass(self) -> None:
        for name in self.client.scan_iter("dedup:*"):
            self.client.delete(name)

    @rule()
    def forget_the_scripts(self) -> None:
        self.client.script_flush()

    @rule()
    def trim(self) -> None:
        self.run(self.store("a").trim())

    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        ids = [i.decode() for i, _ in self.client.xrange(DEAD)]
        if ids:
            chosen = data.draw(st.sampled_from(ids))
            length = self.client.xlen(DEAD)
            assert all(self.run(self.letters().replay([chosen])))
            assert self.run(self.letters().replay([chosen])) == [""], "once"
            assert self.client.xlen(DEAD) == length - 1

    # What must hold in the end

    def teardown(self) -> None:
        try:
            self.settle()
            self.check()
        finally:
            self.run(self.link.close())
            self.client.close()
            self.loop.close()

    def settle(self) -> None:
        self.mend_the_indexes()
        while entries := self.read("a", 100):
            self.note(self.run(self.pipeline("a").process(entries)))
        for _ in range(8):
            self.reclaim("b")
        self.wake_up()
        assert self.client.xpending(STREAM, GROUP)["pending"] == 0

    def check(self) -> None:
        letters = dead_letters(self.client)
        dead_ids = {letter[b"snapshot_id"].decode() for letter in letters}
        dead_raw = [letter[b"event.snapshot"] for letter in letters]
        persisted = {i for i in self.documents if self.client.exists(keys.by_id(i))}
        buckets = {self.bucket(i) for i in persisted}
        for identifier in self.documents:
            raw = samples.to_json(self.documents[identifier])
            assert (
                identifier in persisted
                or self.bucket(identifier) in buckets
                or identifier in dead_ids
                or raw in dead_raw
            ), f"lost: {identifier}"
        assert sorted(raw for raw in dead_raw if raw.startswith(b"broken")) == sorted(
            f"broken {n}".encode() for n in range(1, self.broken + 1)
        )
        assert len(self.writes) == len(set(self.writes)), "written twice"
        assert set(self.writes) == persisted
        for region in REGIONS:
            mine = [i for i in persisted if self.documents[i]["region_id"] == region]
            index = self.client.zrange(keys.index(region), 0, -1)
            assert sorted(i.decode() for i in index) == sorted(mine)
            if mine:
                latest = self.client.get(keys.latest(region)).decode()
                newest = max(self.documents[i]["generated_at"] for i in mine)
                assert self.documents[latest]["generated_at"] == newest

    def bucket(self, identifier: str) -> tuple[str, int]:
        document = self.documents[identifier]
        return document["region_id"], document["generated_at"] // 900_000


def test_the_guarantees(server: Server) -> None:
    SERVER[:] = [server]
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
