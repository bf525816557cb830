"""The gateway and Valkey in the chart: what is rendered starts the gateway's own programs, on a Valkey that it accepts."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
import yaml

from gateway import command
from gateway.api.tokens import Tokens
from gateway.config import GatewayConfig, read
from gateway.records.durability import examine, faults
from k8s.controller.objects.kinds import SECRET
from k8s.platform.credentials import CredentialsPlan, make
from tests.support.chart import HOME, Document, Rendered, rendered, template
from tests.support.fakes import FakeCluster
from tests.support.ports import free_port
from tests.support.redis import PROGRAM

API, WORKER, VALKEY = "lw-labelwright-gateway", "lw-labelwright-gateway-worker", "lw-labelwright-valkey"
KEYS = "lw-labelwright-gateway-keys"
ON: dict[str, Any] = {"gateway.enabled": True, "gateway.classifiers": [{"name": "papers"}]}
EXTERNAL = {**ON, "valkey.kind": "external", "valkey.external.secretName": "theirs"}
SCALED = {**ON, "gateway.worker.autoscaling.enabled": True}
FOUND: dict[str, Any] = {"gateway.enabled": True}
HOOKS = {**ON, "gateway.webhooks.hosts": ["hooks.example.com", "*.example.org:8443"], "gateway.webhooks.secretName": "signing"}
NO_STORAGE = {**ON, "storage.kind": "external", "storage.external.endpoint": "http://s3.example:8333"}
TOKENS = {**ON, "gateway.tokens.secretName": "clients"}
DIGEST = f"sha256:{'a' * 64}"
EVERYWHERE = [{"operator": "Exists"}]
PLACED = {"nodeSelector": {"a": "b"}, "tolerations": EVERYWHERE, "affinity": {"podAffinity": {}}, "priorityClassName": "high"}


@functools.cache
def on() -> Rendered:
    return rendered(**ON)


def pod(them: Rendered, name: str) -> Document:
    found: Document = them.one("StatefulSet" if name == VALKEY else "Deployment", name)["spec"]["template"]["spec"]
    return found


def variables(them: Rendered, container: str) -> dict[str, Any]:
    """The variables of the container: a text, or the Secret's key."""
    found = them.container(container)["env"]
    return {each["name"]: each.get("value", each.get("valueFrom", {}).get("secretKeyRef")) for each in found}


def settings(them: Rendered, container: str = "gateway") -> GatewayConfig:
    """Return what the gateway itself reads of its arguments and variables."""
    given = {name: value for name, value in variables(them, container).items() if isinstance(value, str)}
    given["LABELWRIGHT_GATEWAY__REDIS"] = "redis://valkey"
    kind, *arguments = them.container(container)["args"]
    options = {"api": command.api, "worker": command.worker}[kind].make_context(kind, arguments).params
    return read({**options, "predictors": None}, given)


def volume(them: Rendered, name: str) -> Document:
    of = {"tokens": API, "webhooks": WORKER}.get(name, VALKEY)
    (found,) = (each for each in pod(them, of)["volumes"] if each["name"] == name)
    return {kind: value for kind, value in found.items() if kind != "name"}


def autoscaler(them: Rendered) -> Document:
    found: Document = them.one("HorizontalPodAutoscaler", WORKER)["spec"]
    return found


def plan(them: Rendered) -> CredentialsPlan:
    (found,) = (each for each in them.container("credentials")["args"] if each.startswith("--plan="))
    return CredentialsPlan.model_validate_json(found.removeprefix("--plan="))


def configuration(them: Rendered) -> str:
    return str(them.one("ConfigMap", VALKEY)["data"]["valkey.conf"])


def egress(them: Rendered, component: str) -> str:
    return json.dumps(them.one("NetworkPolicy", f"lw-labelwright-{component}")["spec"]["egress"])


def image(container: str, wanted: str) -> Callable[[Rendered], bool]:
    return lambda them: them.container(container)["image"] == wanted


def asks(container: str, kind: str) -> Callable[[Rendered], bool]:
    return lambda them: them.container(container)["resources"][kind]["cpu"] == "3"


def placed(name: str, part: str) -> Callable[[Rendered], bool]:
    return lambda them: pod(them, name)[part] == PLACED[part]


def placements(value: str, name: str) -> dict[str, tuple[Any, dict[str, Any], Callable[[Rendered], Any]]]:
    return {f"{value}.{part}": (wanted, ON, placed(name, part)) for part, wanted in PLACED.items()}


VALKEY_DIGEST = "sha256:70739f85ad2ee01a726a965584a0f94895f01b0c60b3cc8b0aeef11eaa6888cf"
# The value, the other values that it needs, and where it is seen.
SEEN: dict[str, tuple[Any, dict[str, Any], Callable[[Rendered], Any]]] = {
    "images.gateway.registry": ("r.example", ON, image("gateway", "r.example/labelwright/gateway:0.1.0")),
    "images.gateway.repository": ("a/b", ON, image("worker", "a/b:0.1.0")),
    "images.gateway.tag": ("1.2", ON, image("gateway", "labelwright/gateway:1.2")),
    "images.gateway.digest": (DIGEST, ON, image("worker", f"labelwright/gateway:0.1.0@{DIGEST}")),
    "gateway.enabled": (True, ON, lambda them: them.one("Deployment", API) and them.one("StatefulSet", VALKEY)),
    "gateway.classifiers": (
        [{"name": "a"}, {"name": "b", "namespace": "other"}],
        {**ON, "controller.watch.namespaces": [HOME, "other"]},
        lambda them: settings(them).predictors == settings(them, "worker").predictors
        == {"a": "http://a-predictor.home.svc", "b": "http://b-predictor.other.svc"},
    ),
    "gateway.tokens.secretName": ("clients", ON, lambda them: volume(them, "tokens")["secret"]["secretName"] == "clients"),
    "gateway.tokens.secretKey": (
        "mine.json", TOKENS,
        lambda them: volume(them, "tokens")["secret"]["items"] == [{"key": "mine.json", "path": "tokens.json"}]),
    "gateway.webhooks.hosts": (
        ["a.example:8443"], HOOKS,
        lambda them: settings(them).webhook_hosts == ("a.example:8443",) and '"port": 8443' in egress(them, "gateway-worker")),
    "gateway.webhooks.secretName": ("mine", HOOKS, lambda them: volume(them, "webhooks")["secret"]["secretName"] == "mine"),
    "gateway.webhooks.secretKey": (
        "k", HOOKS, lambda them: volume(them, "webhooks")["secret"]["items"] == [{"key": "k", "path": "secrets"}]),
    "storage.external.secretNames.gateway": (
        "writers", NO_STORAGE,
        lambda them: them.container("worker")["envFrom"] == [{"secretRef": {"name": "writers"}}]
        and settings(them).feedback_uri == "s3://feedback/" and '"port": 8333' in egress(them, "gateway-worker")),
    "gateway.anonymous": (True, ON, lambda them: settings(them).anonymous),
    "gateway.settings": (
        {"retention_seconds": 3600, "max_open_tasks": 5000000, "request_seconds": 30, "log_format": "text"}, ON,
        lambda them: settings(them).max_open_tasks == 5000000 and settings(them, "worker").retention_seconds == 3600
        and pod(them, WORKER)["terminationGracePeriodSeconds"] == 45,
    ),
    "gateway.api.replicas": (3, ON, lambda them: them.one("Deployment", API)["spec"]["replicas"] == 3),
    "gateway.api.resources.requests": ({"cpu": "3"}, ON, asks("gateway", "requests")),
    "gateway.api.resources.limits": ({"cpu": "3"}, ON, asks("gateway", "limits")),
    "gateway.worker.replicas": (3, ON, lambda them: them.one("Deployment", WORKER)["spec"]["replicas"] == 3),
    "gateway.worker.autoscaling.enabled": (True, ON, lambda them: "replicas" not in them.one("Deployment", WORKER)["spec"]),
    "gateway.worker.autoscaling.minReplicas": (2, SCALED, lambda them: autoscaler(them)["minReplicas"] == 2),
    "gateway.worker.autoscaling.maxReplicas": (5, SCALED, lambda them: autoscaler(them)["maxReplicas"] == 5),
    "gateway.worker.autoscaling.queueAgeSeconds": (
        30, SCALED, lambda them: autoscaler(them)["metrics"][0]["external"]["target"] == {"type": "Value", "value": "30"}),
    "gateway.worker.resources.requests": ({"cpu": "3"}, ON, asks("worker", "requests")),
    "gateway.worker.resources.limits": ({"cpu": "3"}, ON, asks("worker", "limits")),
    "valkey.kind": ("external", EXTERNAL, lambda them: VALKEY not in them.text),
    "valkey.image.registry": ("r.example", ON, image("valkey", f"r.example/valkey/valkey:9.1.1@{VALKEY_DIGEST}")),
    "valkey.image.repository": ("a/b", ON, image("valkey", f"docker.io/a/b:9.1.1@{VALKEY_DIGEST}")),
    "valkey.image.tag": ("1", ON, image("valkey", f"docker.io/valkey/valkey:1@{VALKEY_DIGEST}")),
    "valkey.image.digest": ("", ON, image("valkey", "docker.io/valkey/valkey:9.1.1")),
    "valkey.external.secretName": (
        "mine", EXTERNAL,
        lambda them: variables(them, "worker")["LABELWRIGHT_GATEWAY__REDIS"] == {"name": "mine", "key": "url"}),
    "valkey.external.secretKey": (
        "where", EXTERNAL,
        lambda them: variables(them, "gateway")["LABELWRIGHT_GATEWAY__REDIS"] == {"name": "theirs", "key": "where"}),
    "valkey.external.port": (
        7000, EXTERNAL, lambda them: "7000" in egress(them, "gateway") and "7000" in egress(them, "gateway-worker")),
    "valkey.maxMemory": ("2gb", ON, lambda them: "\nmaxmemory 2gb\n" in configuration(them)),
    "valkey.persistence.size": (
        "1Ti", ON,
        lambda them: them.one("PersistentVolumeClaim", VALKEY)["spec"]["resources"]["requests"]["storage"] == "1Ti"),
    "valkey.persistence.storageClassName": (
        "fast", ON, lambda them: them.one("PersistentVolumeClaim", VALKEY)["spec"]["storageClassName"] == "fast"),
    "valkey.persistence.existingClaim": (
        "mine", ON, lambda them: volume(them, "data") == {"persistentVolumeClaim": {"claimName": "mine"}}),
    "valkey.resources.requests": ({"cpu": "3"}, ON, asks("valkey", "requests")),
    "valkey.resources.limits": ({"cpu": "3"}, ON, asks("valkey", "limits")),
    **placements("gateway.api", API),
    **placements("gateway.worker", WORKER),
    **placements("valkey", VALKEY),
}  # fmt: skip


@pytest.mark.parametrize("path", SEEN)
def test_a_value_is_seen_in_what_is_rendered(path: str) -> None:
    value, others, seen = SEEN[path]

    assert seen(rendered(**{**others, path: value}))


def test_without_it_there_is_nothing_of_it() -> None:
    names = {each["metadata"]["name"] for each in rendered().documents}

    assert not names & {API, WORKER, VALKEY, KEYS}
    assert "requirepass" not in rendered().text


def test_the_programs_of_api_and_worker_accept_their_arguments_and_variables() -> None:
    api, worker = settings(on()), settings(on(), "worker")

    assert (api.host, api.port, api.anonymous) == ("::", 8000, False)
    assert (worker.metrics_port, worker.predictors) == (9090, api.predictors)
    assert api.predictors == {"papers": "http://papers-predictor.home.svc"}


def test_without_names_the_classifiers_of_the_namespace_are_found_by_a_role_that_lists_them() -> None:
    them = rendered(**FOUND)

    for container in ("gateway", "worker"):
        found = settings(them, container)
        assert (found.discover_namespace, found.predictors) == (HOME, {})
    assert them.one("Role", API)["rules"] == [
        {"apiGroups": ["serving.kserve.io"], "resources": ["inferenceservices"], "verbs": ["list"]}
    ]
    assert all("6443" in egress(them, each) for each in ("gateway", "gateway-worker"))


def test_with_names_there_is_no_right_no_token_and_no_connection_to_the_api_server() -> None:
    them = on()

    assert API not in {each["metadata"]["name"] for each in them.all("Role", "RoleBinding")}
    for name in (API, WORKER):
        assert "token" not in {each["name"] for each in pod(them, name)["volumes"]}
        assert pod(them, name)["automountServiceAccountToken"] is False
    assert not any("6443" in egress(them, each) for each in ("gateway", "gateway-worker"))


def test_only_workers_have_the_secrets_that_sign_webhooks() -> None:
    them = rendered(**HOOKS)

    assert settings(them, "worker").webhook_secret_file == Path("/etc/labelwright/webhooks/secrets")
    assert '"port": 443' in egress(them, "gateway-worker")
    assert "signing" not in json.dumps(pod(them, API))
    assert '"port": 443' not in egress(them, "gateway")


def test_only_workers_reach_the_storage_of_corrections_with_credentials_of_their_own() -> None:
    them = on()

    assert them.container("worker")["envFrom"] == [{"secretRef": {"name": API}}]
    assert settings(them).feedback_uri == settings(them, "worker").feedback_uri == "s3://feedback/"
    assert '"port": 9000' in egress(them, "gateway-worker")
    assert '"port": 9000' not in egress(them, "gateway")
    assert "envFrom" not in them.container("gateway")


def test_without_a_secret_for_an_external_storage_no_corrections_are_accepted() -> None:
    them = rendered(**NO_STORAGE)

    assert settings(them).feedback_uri is None
    assert "envFrom" not in them.container("worker")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param(
            {**FOUND, "controller.watch.namespaces": ["far"]},
            "the namespace home is not in controller.watch.namespaces: add it, or set gateway.classifiers",
            id="namespace-not-watched",
        ),
        pytest.param({**ON, "gateway.webhooks.hosts": ["a.example"]}, "set gateway.webhooks.secretName", id="no-signing-secret"),
        pytest.param(
            {**ON, "gateway.classifiers": [{"name": "a", "namespace": "far"}]},
            "a is in the namespace far, which is not in controller.watch.namespaces",
            id="not-watched",
        ),
        pytest.param({**ON, "gateway.classifiers": [{"name": "a"}, {"name": "a"}]}, "a is there twice", id="twice"),
        pytest.param({**ON, "valkey.kind": "external"}, "set valkey.external.secretName", id="no-address"),
        pytest.param({**ON, "gateway.settings": {"redis": "redis://a:b@c"}}, "redis", id="address-among-settings"),
    ],
)
def test_values_that_contradict_each_other_are_refused_by_their_names(values: dict[str, Any], message: str) -> None:
    done = template(**values)

    assert done.returncode != 0
    assert message in done.stderr


def test_the_secrets_are_made_by_the_job_whatever_the_storage() -> None:
    with_storage, without = plan(on()), plan(rendered(**{**ON, "storage.kind": "external"}))

    assert [each.name for each in without.secrets] == [KEYS, VALKEY]
    assert {each.name for each in with_storage.secrets} > {KEYS, VALKEY}
    assert [each.name for each in plan(rendered(**EXTERNAL, **{"storage.kind": "external"})).secrets] == [KEYS]


def test_tokens_of_the_user_are_not_generated() -> None:
    (keys,) = (each for each in plan(rendered(**TOKENS)).secrets if each.name == KEYS)

    assert (keys.passwords, keys.derived) == (("id_secret",), {})


def secrets(them: Rendered) -> dict[str, dict[str, str]]:
    """Make the Secrets as the Job does, and return their texts by key and by name."""
    cluster, wanted = FakeCluster(), plan(them)
    make(cluster, wanted, HOME)
    found = {each.name: (cluster.get(SECRET, HOME, each.name) or {})["data"] for each in wanted.secrets}
    return {name: {key: base64.b64decode(text).decode() for key, text in data.items()} for name, data in found.items()}


def test_the_generated_token_may_predict_and_correct_and_is_stored_for_the_api_as_a_hash(tmp_path: Path) -> None:
    keys = secrets(on())[KEYS]
    (tmp_path / "tokens.json").write_text(keys["tokens.json"])

    found = Tokens(tmp_path / "tokens.json").find(keys["token"])

    assert found is not None
    assert found.may("predict")
    assert found.may("feedback")
    assert not found.may("admin")
    assert keys["token"] not in keys["tokens.json"]
    assert len(keys["id_secret"]) >= 16


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Run a server with the chart's configuration, but for its folders. The port, and its Secret."""
    if not PROGRAM:
        pytest.skip("needs the program valkey-server or redis-server")
    them = on()
    held, port = secrets(them)[VALKEY], free_port()
    (tmp_path / "password.conf").write_text(held["password.conf"])
    text = configuration(them).replace("/etc/labelwright/valkey-password", str(tmp_path)).replace("/data", str(tmp_path))
    (tmp_path / "valkey.conf").write_text(text)
    with subprocess.Popen([PROGRAM, str(tmp_path / "valkey.conf"), "--port", str(port)], stdout=subprocess.DEVNULL) as process:
        address = re.sub("@.*:6379", f"@127.0.0.1:{port}", held["url"])
        deadline = time.monotonic() + 30
        with redis.Redis.from_url(address) as client:
            while True:
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
        yield address, held
        process.kill()


def test_the_gateway_accepts_a_valkey_with_this_configuration(valkey: tuple[str, dict[str, str]]) -> None:
    async def look() -> dict[str, Any]:
        async with redis.asyncio.Redis.from_url(valkey[0]) as client:
            return await examine(client)

    facts = asyncio.run(look())

    assert faults(facts) == []
    assert facts["appendfsync"] == "always"
    assert facts["maxmemory"] == 512 * 2**20


def test_valkey_answers_no_client_without_the_password(valkey: tuple[str, dict[str, str]]) -> None:
    address, held = valkey

    with redis.Redis.from_url(address.replace(held["password"], "guess")) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    with redis.Redis.from_url(re.sub(":[^:]*@", "", address)) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_the_memory_of_its_container_is_twice_what_it_may_fill() -> None:
    them = on()

    assert them.container("valkey")["resources"]["limits"]["memory"] == "1Gi"
    assert "maxmemory 512mb" in configuration(them)


def test_two_replicas_are_on_two_nodes_and_one_stays_when_a_node_is_drained() -> None:
    them = rendered(**ON, **{"gateway.api.replicas": 2, "gateway.worker.replicas": 2})

    for name in (API, WORKER):
        (spread,) = pod(them, name)["topologySpreadConstraints"]
        budget = them.one("PodDisruptionBudget", name)["spec"]
        labels = them.one("Deployment", name)["spec"]["template"]["metadata"]["labels"].items()
        assert spread["labelSelector"]["matchLabels"].items() <= labels
        assert budget["selector"]["matchLabels"].items() <= labels
    assert on().all("PodDisruptionBudget") == []
    assert [each["metadata"]["name"] for each in rendered(**SCALED, **{"gateway.worker.autoscaling.minReplicas": 2}).all(
        "PodDisruptionBudget")] == [WORKER]  # fmt: skip


def test_a_worker_is_not_killed_while_it_waits_for_valkey() -> None:
    assert not {"livenessProbe", "startupProbe"} & set(on().container("worker"))


def test_prometheus_scrapes_every_replica_of_api_and_workers() -> None:
    them = on()
    jobs = {
        each["job_name"]: each
        for each in yaml.safe_load(them.one("ConfigMap", "lw-labelwright-prometheus")["data"]["prometheus.yml"])["scrape_configs"]
    }

    for job, service, port in (
        ("labelwright-gateway", f"{API}-pods", 8000),
        ("labelwright-gateway-worker", WORKER, 9090),
    ):
        (discovery,) = jobs[job]["dns_sd_configs"]
        assert (discovery["names"], discovery["port"]) == ([f"{service}.home.svc"], port)
        assert them.one("Service", service)["spec"]["clusterIP"] == "None"
        assert them.one("Service", service)["spec"]["ports"][0]["port"] == port
        assert f'"port": {port}' in egress(them, "prometheus")
