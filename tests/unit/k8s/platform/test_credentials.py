"""Secrets of a release: made once, completed where a key is missing, never changed."""

from __future__ import annotations

import base64
import hashlib
import json
from itertools import count

import pytest

from k8s.controller.objects.kinds import SECRET, Document
from k8s.platform.credentials import CredentialsPlan, make
from tests.support.fakes import FakeCluster

HOME = "home"
TRAINER = {"name": "lw-trainer", "settings": {"AWS_ACCESS_KEY_ID": "trainer"}, "passwords": ["AWS_SECRET_ACCESS_KEY"]}


def plan(*secrets: Document, **others: Document) -> CredentialsPlan:
    return CredentialsPlan.model_validate({"labels": {"a": "b"}, "secrets": secrets or (TRAINER,), **others})


def made(cluster: FakeCluster, wanted: CredentialsPlan) -> list[str]:
    numbers = count(1)
    return make(cluster, wanted, HOME, generate=lambda: f"password-{next(numbers)}")


def data(cluster: FakeCluster, name: str = "lw-trainer") -> dict[str, str]:
    found = cluster.get(SECRET, HOME, name) or {}
    return {key: base64.b64decode(value).decode() for key, value in found["data"].items()}


def test_an_absent_secret_is_created_with_a_password() -> None:
    cluster = FakeCluster()

    assert made(cluster, plan()) == ["lw-trainer: created"]
    assert data(cluster) == {"AWS_ACCESS_KEY_ID": "trainer", "AWS_SECRET_ACCESS_KEY": "password-1"}
    assert (cluster.get(SECRET, HOME, "lw-trainer") or {})["metadata"]["labels"] == {"a": "b"}


def test_a_repetition_changes_nothing() -> None:
    cluster = FakeCluster()
    made(cluster, plan())
    version = cluster.version

    assert made(cluster, plan()) == ["lw-trainer: unchanged"]
    assert cluster.version == version


def test_settings_follow_the_plan_and_the_password_stays() -> None:
    cluster = FakeCluster()
    make(cluster, plan(), HOME, generate=lambda: "first")
    moved = {**TRAINER, "settings": {"AWS_ACCESS_KEY_ID": "trainer", "AWS_ENDPOINT_URL": "http://s3"}}

    assert made(cluster, plan(moved)) == ["lw-trainer: changed AWS_ENDPOINT_URL"]
    assert data(cluster) == {
        "AWS_ACCESS_KEY_ID": "trainer",
        "AWS_SECRET_ACCESS_KEY": "first",
        "AWS_ENDPOINT_URL": "http://s3",
    }


def test_a_key_that_somebody_removed_is_made_again_and_a_key_of_somebody_stays() -> None:
    cluster = FakeCluster()
    own = {"mine": base64.b64encode(b"kept").decode()}
    metadata = {"name": "lw-trainer", "namespace": HOME}
    cluster.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": own})

    made(cluster, plan())

    assert data(cluster) == {"mine": "kept", "AWS_ACCESS_KEY_ID": "trainer", "AWS_SECRET_ACCESS_KEY": "password-1"}


def test_texts_that_contain_a_password_or_its_hash_follow_it_and_the_plan() -> None:
    cluster = FakeCluster()
    keys: Document = {
        "name": "lw-keys",
        "settings": {},
        "passwords": ["token"],
        "derived": {"url": "redis://:${token}@here", "tokens.json": '[{"sha256": "${token_sha256}"}]'},
    }
    hashed = hashlib.sha256(b"password-1").hexdigest()

    made(cluster, plan(keys))
    assert data(cluster, "lw-keys") == {
        "token": "password-1",
        "url": "redis://:password-1@here",
        "tokens.json": f'[{{"sha256": "{hashed}"}}]',
    }
    assert made(cluster, plan(keys)) == ["lw-keys: unchanged"]

    assert made(cluster, plan({**keys, "derived": {"url": "redis://:${token}@there"}})) == ["lw-keys: changed url"]
    assert data(cluster, "lw-keys")["url"] == "redis://:password-1@there"


def test_the_file_of_seaweedfs_names_each_user_with_its_keys_and_its_buckets() -> None:
    cluster = FakeCluster()
    access = [{"bucket": "datasets", "verbs": ["read"]}, {"bucket": "models", "verbs": ["read", "write"]}]
    identities = [
        {"name": "trainer", "secretName": "lw-trainer", "access": access},
        {"name": "anonymous", "access": [{"bucket": "probe", "verbs": ["read"]}]},
    ]

    made(cluster, plan(identities={"name": "lw-users", "key": "s3.json", "identities": identities}))

    assert json.loads(data(cluster, "lw-users")["s3.json"])["identities"] == [
        {
            "name": "trainer",
            "credentials": [{"accessKey": "trainer", "secretKey": "password-1"}],
            "actions": ["Read:datasets", "List:datasets", "Read:models", "List:models", "Write:models"],
        },
        {"name": "anonymous", "actions": ["Read:probe", "List:probe"]},
    ]


@pytest.mark.parametrize("number", range(3))
def test_passwords_differ_and_are_as_long_as_minio_allows(number: int) -> None:
    first, second = FakeCluster(), FakeCluster()
    for cluster in (first, second):
        make(cluster, plan(), HOME)

    passwords = [data(each)["AWS_SECRET_ACCESS_KEY"] for each in (first, second)]
    assert passwords[0] != passwords[1]
    assert {len(each) for each in passwords} == {40}
