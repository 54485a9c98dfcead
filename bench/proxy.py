"""A link that can be made long, cut, or half open, around a real server.

Runs in a thread of its own, so that a busy client does not change what the link does. Used by the
benchmarks (a delay on every connection) and by the fault tests.
"""

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Self


class Proxy:
    """A context manager: `port` leads to `target`. Settable at any time:

    delay_s: one way, so a round trip takes twice as long. silent: accepts and reads, answers
    nothing (half open). refusing: closes each connection at once. bytes_until_cut: cuts every
    connection after so many more bytes towards the server, once.
    """

    def __init__(self, target: int, *, delay_s: float = 0.0) -> None:
        self.target = target
        self.delay_s = delay_s
        self.silent = False
        self.refusing = False
        self.bytes_until_cut: int | None = None
        self.round_trips = 0
        """How often the direction turned from the server's answer to the client's next words."""
        self.connections = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def cut(self) -> None:
        """Close every connection there is; new ones are taken."""
        self._loop.call_soon_threadsafe(self._cut)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._connected, "127.0.0.1", 0, limit=1 << 20)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._cut()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _connected(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refusing:
            back.transport.abort()
            return
        try:
            far, forth = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            back.transport.abort()
            return
        self._writers |= {back, forth}
        talk = {"answered": True}
        try:
            await asyncio.gather(
                self._pump(near, forth, back, talk, to_server=True),
                self._pump(far, back, forth, talk, to_server=False),
            )
        except asyncio.CancelledError:
            pass  # the proxy is going away; asyncio's streams would tell at length
        finally:
            self._writers -= {back, forth}
            back.transport.abort()
            forth.transport.abort()

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        other: asyncio.StreamWriter,
        talk: dict[str, bool],
        *,
        to_server: bool,
    ) -> None:
        """Forward each piece after the delay, in order; the delays of pieces overlap."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due, piece = await queue.get()
                wait = due - self._loop.time()
                if wait > 0:
                    await asyncio.sleep(wait)
                if not piece:
                    sink.transport.abort()
                    return
                if not self.silent:
                    sink.write(piece)
                    with contextlib.suppress(OSError):
                        await sink.drain()

        delivering = asyncio.create_task(deliver())
        try:
            while True:
                try:
                    piece = await source.read(1 << 18)
                except OSError:
                    piece = b""
                if to_server and piece:
                    piece = self._count(piece, talk, sink, other)
                elif piece:
                    talk["answered"] = True
                queue.put_nowait((self._loop.time() + self.delay_s, piece))
                if not piece:
                    await delivering
                    return
        finally:
            delivering.cancel()

    def _count(
        self,
        piece: bytes,
        talk: dict[str, bool],
        sink: asyncio.StreamWriter,
        other: asyncio.StreamWriter,
    ) -> bytes:
        if talk["answered"]:
            talk["answered"] = False
            self.round_trips += 1
        if self.bytes_until_cut is None:
            return piece
        left = self.bytes_until_cut - len(piece)
        if left > 0:
            self.bytes_until_cut = left
            return piece
        # Half of a command reaches the server, and then there is nobody.
        self.bytes_until_cut = None
        sink.write(piece[: len(piece) + left])
        self._loop.call_soon(self._cut)
        return b""


@contextlib.contextmanager
def long_link(target: int, delay_s: float) -> Iterator[str]:
    """The URL of such a link in a process of its own: what is measured must not share its GIL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.proxy", str(target), str(delay_s)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().decode().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    with Proxy(int(sys.argv[1]), delay_s=float(sys.argv[2])) as made:
        print(made.url, flush=True)
        threading.Event().wait()
