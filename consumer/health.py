"""/livez and /readyz: is this process alive, and does it really consume?"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import uvicorn

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Check = Callable[[], dict[str, str]]

logger = logging.getLogger("regions.health")


def stale(at: float, what: str, limit_s: float) -> str:
    """Why a time.monotonic() is too long ago, or nothing."""
    if not at:
        return f"no {what} yet"
    age = time.monotonic() - at
    return f"last {what} {age:.0f} s ago" if age > limit_s else ""


def http_app(wrong: Check, routes: dict[str, Callable[[], tuple[bytes, str]]]) -> Any:
    """The ASGI app. `wrong` says what is wrong, by part; an empty answer is ready."""

    async def app(scope: Scope, _: Any, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        if path == "/livez":
            await _reply(send, 200, b'{"alive":true}', "application/json")
        elif path == "/readyz":
            problems = wrong()
            body = json.dumps({"ready": not problems, "wrong": problems}).encode()
            await _reply(send, 503 if problems else 200, body, "application/json")
        elif path in routes:
            body, content_type = routes[path]()
            await _reply(send, 200, body, content_type)
        else:
            await _reply(send, 404, b"not found\n", "text/plain")

    return app


async def _reply(send: Send, status: int, body: bytes, content_type: str) -> None:
    headers = [(b"content-type", content_type.encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class HealthServer(uvicorn.Server):
    """uvicorn in our own loop, beside the consumer; the signals stay FastStream's."""

    def __init__(self, app: Any, address: str) -> None:
        host, _, port = address.rpartition(":")
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=int(port),
                log_config=None,
                access_log=False,
                lifespan="off",
                http="h11",
                ws="none",
                interface="asgi3",
            )
        )
        self._task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def start_beside(self) -> str:
        """Serve; returns the base URL. Raises OSError when the address is taken."""
        self._task = asyncio.create_task(self._serve_or_say())
        while not self.started:
            if self._task.done():
                raise OSError(f"cannot serve HTTP on {self.config.host}:{self.config.port}")
            await asyncio.sleep(0.01)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    async def _serve_or_say(self) -> None:
        # uvicorn leaves with SystemExit when it cannot bind; that is no way to end a task.
        with contextlib.suppress(SystemExit):
            await self.serve()

    async def stop(self) -> None:
        self.should_exit = True
        if self._task:
            await asyncio.wait([self._task], timeout=2)
