"""compose.yaml and the Kubernetes manifests: against their schemas, against the code, and run
natively, command by command. There is no Docker here."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from bench.servers import KIND, binary, free_port
from consumer.settings import Settings
from otel.inbox import Inbox
from tests.kit import STREAM, ConsumerProcess, alive, until

TOP = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((TOP / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
KUBERNETES = [
    document
    for file in sorted((TOP / "deploy/kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(file.read_text())
]


def go_module(path: str, version: str) -> Path:
    """The folder of a Go module, downloaded by Go's own tool: schemas come from their source."""
    if not shutil.which("go"):
        pytest.skip("Go is not on this machine: it would bring the schema")
    done = subprocess.run(
        ["go", "mod", "download", "-json", f"{path}@{version}"], capture_output=True, text=True,
        env={**os.environ, "GOFLAGS": "-mod=mod"}, cwd="/",
    )  # fmt: skip
    if done.returncode:
        pytest.skip("the Go proxy cannot be reached from this machine")
    return Path(json.loads(done.stdout)["Dir"])


def test_the_compose_specification() -> None:
    import jsonschema

    folder = go_module("github.com/compose-spec/compose-go/v2", "v2.16.2")
    schema = json.loads((folder / "schema/compose-spec.json").read_text())
    jsonschema.validate(COMPOSE, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"services": {"x": {"imge": "y"}}}, schema)


def test_the_kubernetes_schemas() -> None:
    import kubernetes_validate

    kinds = []
    for document in KUBERNETES:
        if not document["apiVersion"].startswith("keda"):
            kubernetes_validate.validate(document, "1.33", strict=True)
            kinds.append(document["kind"])
    assert kinds == ["Deployment", "PodDisruptionBudget"]
    broken = json.loads(json.dumps(KUBERNETES[0]))
    broken["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.33", strict=True)


def test_the_keda_schema() -> None:
    import jsonschema

    folder = go_module("github.com/kedacore/keda/v2", "v2.18.1")
    crd = yaml.safe_load((folder / "config/crd/bases/keda.sh_scaledobjects.yaml").read_text())
    (schema,) = [
        v["schema"]["openAPIV3Schema"] for v in crd["spec"]["versions"] if v["name"] == "v1alpha1"
    ]
    (scaled,) = [document for document in KUBERNETES if document["kind"] == "ScaledObject"]
    jsonschema.validate(scaled, schema)
    wrong = json.loads(json.dumps(scaled))
    del wrong["spec"]["triggers"][0]["metadata"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)
    asked = [
        trigger["metadata"].keys() & {"lagCount", "pendingEntriesCount"}
        for trigger in scaled["spec"]["triggers"]
    ]
    assert asked == [{"lagCount"}, {"pendingEntriesCount"}]
    for trigger in scaled["spec"]["triggers"]:
        assert trigger["metadata"]["stream"] == Settings.load().stream
        assert trigger["metadata"]["consumerGroup"] == Settings.load().group


def test_kubernetes_says_what_the_code_is() -> None:
    spec = KUBERNETES[0]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["command"] == SERVICES["consumer"]["command"]
    assert spec["terminationGracePeriodSeconds"] > Settings.load().grace_s
    paths = {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("liveness", "readiness")}
    assert paths == {"/livez", "/readyz"}
    for variable in container["env"]:
        known = variable["name"].removeprefix("REGIONS_").lower() in Settings.model_fields
        assert known or variable["name"].startswith("OTEL_")
    assert KUBERNETES[1]["spec"]["selector"] == KUBERNETES[0]["spec"]["selector"]


def test_compose_is_pinned_bounded_and_keeps_to_itself() -> None:
    for name, service in SERVICES.items():
        image = service.get("image")
        assert image is None or (
            "latest" not in image and image.rpartition(":")[2].count(".") == 2
        ), name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (
                (TOP / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
            ), name
    consumer = SERVICES["consumer"]
    assert "container_name" not in consumer, "it scales"
    assert "ports" not in consumer, "it scales"
    assert consumer["depends_on"]["valkey"]["condition"] == "service_healthy"
    assert consumer["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
    assert int(consumer["stop_grace_period"].rstrip("s")) > Settings.load().grace_s
    for name in ("consumer", "producer"):
        for variable in SERVICES[name]["environment"]:
            known = variable.removeprefix("REGIONS_").lower() in {
                *Settings.model_fields,
                "redis_url",
            }
            assert known or variable == "REDIS_URL" or variable.startswith("OTEL_"), variable
    assert SERVICES["producer"]["profiles"] == ["demo"]
    jaeger = "jaeger:/data/jaeger"
    assert jaeger in SERVICES["jaeger"]["volumes"], "its traces survive a restart"
    assert SERVICES["jaeger"]["environment"]["JAEGER_DATA"] == "/data/jaeger"


@contextmanager
def process(
    command: list[str], environment: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        running = subprocess.Popen(
            command, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        yield running
    finally:
        os.killpg(running.pid, 15)
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, 9)
            running.wait()


async def test_every_command_of_compose_runs_here(tmp_path: Path) -> None:
    """The services' own commands and environments; only hosts, ports and paths are this machine's."""
    port, http, prometheus_port = free_port(), free_port(), free_port()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    with Inbox() as inbox:

        def here(text: str) -> str:
            for there, mine in {
                "valkey:6379": f"127.0.0.1:{port}",
                "http://jaeger:4318": inbox.url,
                "0.0.0.0:8080": f"127.0.0.1:{http}",
                "127.0.0.1:8080": f"127.0.0.1:{http}",
                "/etc/valkey/users.acl": str(TOP / "deploy/users.acl"),
                "/etc/prometheus/prometheus.yaml": str(TOP / "otel/prometheus.yaml"),
                "=/prometheus": f"={tmp_path}/prometheus",
                "sleep 60": "sleep 1",
            }.items():
                text = text.replace(there, mine)
            return text

        def environment(name: str) -> dict[str, str]:
            given = {k: here(str(v)) for k, v in SERVICES[name].get("environment", {}).items()}
            return {"PATH": path, "HOME": str(tmp_path), "PYTHONPATH": str(TOP), **given}

        valkey = [binary(KIND), *map(here, SERVICES["valkey"]["command"][1:]),
                  "--port", str(port), "--dir", str(tmp_path), "--save", ""]  # fmt: skip
        with process(valkey, {"PATH": path}, tmp_path / "valkey.log"):
            with redis.Redis(port=port) as anybody:
                await until(lambda: alive(anybody), what=(tmp_path / "valkey.log").read_text())
            if cli := shutil.which("redis-cli"):
                check = SERVICES["valkey"]["healthcheck"]["test"][1].replace(
                    "valkey-cli", f"{cli} -p {port}"
                )
                assert subprocess.run(["sh", "-c", check]).returncode == 0

            consume = list(map(here, SERVICES["consumer"]["command"]))
            with process(consume, environment("consumer"), tmp_path / "consumer.log"):
                health = list(map(here, SERVICES["consumer"]["healthcheck"]["test"][1:]))
                await until(
                    lambda: subprocess.run(health, env=environment("consumer"), capture_output=True).returncode == 0,
                    30, "healthy",
                )  # fmt: skip
                produce = list(map(here, SERVICES["producer"]["command"]))
                with process(produce, environment("producer"), tmp_path / "producer.log"):
                    with redis.Redis.from_url(
                        f"redis://reader:reader-local@127.0.0.1:{port}"
                    ) as reader:
                        await until(lambda: reader.xlen(STREAM) >= 16, 60, "two cycles")
                        await until(lambda: reader.get("intelligence:snapshot:v1:mena:latest"))
                    await asyncio.to_thread(
                        inbox.wait,
                        lambda spans: (
                            {s.service for s in spans} >= {"region-producer", "region-consumer"}
                        ),
                    )
                if shutil.which("prometheus"):
                    command = ["prometheus", *map(here, SERVICES["prometheus"]["command"]),
                               f"--web.listen-address=127.0.0.1:{prometheus_port}"]  # fmt: skip
                    with process(command, {"PATH": path}, tmp_path / "prometheus.log") as running:
                        log = tmp_path / "prometheus.log"
                        await until(lambda: "Server is ready" in log.read_text(), 30, "prometheus")
                        assert running.poll() is None
        said = (tmp_path / "consumer.log").read_text()
        assert "NOPERM" not in said
        assert '"level": "ERROR"' not in said


async def test_the_kubernetes_command_and_probes_run_here(url: str) -> None:
    spec = KUBERNETES[0]["spec"]["template"]["spec"]["containers"][0]
    port = free_port()
    given = {v["name"]: v["value"] for v in spec["env"] if v["name"].startswith("REGIONS_")}
    given["REGIONS_HTTP"] = given["REGIONS_HTTP"].replace("0.0.0.0:8080", f"127.0.0.1:{port}")
    command = [str(Path(sys.executable).parent / spec["command"][0]), *spec["command"][1:]]
    with ConsumerProcess(url, *command, **given) as consumer:
        for kind in ("startup", "liveness", "readiness"):
            probe = f"http://127.0.0.1:{port}{spec[f'{kind}Probe']['httpGet']['path']}"
            fetch = f"import urllib.request as u; u.urlopen({probe!r}, timeout=2)"
            await until(
                lambda fetch=fetch: (
                    subprocess.run([sys.executable, "-c", fetch], capture_output=True).returncode
                    == 0
                )
            )
        assert consumer.terminate() == 0
