"""Buckets, users and policies, as a real MinIO keeps them."""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner

from model.provisioning import UserAccess, main, policy_document
from model.storage.minio_admin import MinioAdmin
from model.storage.objects import StorageRejected, StorageUnavailable
from tests.conftest import KEY, PROGRAMS, SECRET

pytestmark = pytest.mark.skipif(
    not shutil.which("minio", path=f"{os.environ.get('PATH', '')}:{PROGRAMS}"), reason="needs the program minio"
)


class Storage:
    """A plan for the running server, with names of its own."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        self.endpoint, self.folder, self.tag = endpoint, folder, uuid.uuid4().hex[:8]
        self.secrets: dict[str, str] = {}
        for role in ("trainer", "predictor"):
            self.give(role, f"{role}-secret-{self.tag}")

    def give(self, role: str, secret: str) -> None:
        """Write the role's keys as a mounted Secret has them."""
        self.secrets[role] = secret
        (self.folder / role).mkdir(exist_ok=True)
        (self.folder / role / "AWS_ACCESS_KEY_ID").write_text(f"{role}-{self.tag}")
        (self.folder / role / "AWS_SECRET_ACCESS_KEY").write_text(secret)

    def name(self, bucket: str) -> str:
        return f"{bucket}-{self.tag}"

    def plan(self) -> str:
        def user(role: str, **access: list[str]) -> dict[str, Any]:
            buckets = [{"bucket": self.name(bucket), "verbs": verbs} for bucket, verbs in access.items()]
            return {"name": f"{role}-{self.tag}", "folder": str(self.folder / role), "access": buckets}

        users = [user("trainer", datasets=["read"], models=["read", "write"]), user("predictor", models=["read"])]
        buckets = [self.name(each) for each in ("datasets", "models", "probe")]
        probe = {"bucket": self.name("probe"), "key": "ready", "public": True}
        return json.dumps({"buckets": buckets, "users": users, "probe": probe})

    def provision(self) -> str:
        variables = {"AWS_ENDPOINT_URL": self.endpoint, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
        done = CliRunner().invoke(main, ["--plan", self.plan(), "--seconds", "20"], env=variables)
        assert done.exit_code == 0, done.output
        return done.output

    def client(self, role: str) -> Any:
        keys = {"aws_access_key_id": f"{role}-{self.tag}", "aws_secret_access_key": self.secrets[role]}
        return boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1", **keys)


@pytest.fixture
def storage(s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    found = Storage(s3_server, tmp_path)
    found.provision()
    return found


def refused(call: Any, **arguments: Any) -> bool:
    try:
        call(**arguments)
    except ClientError as error:
        return bool(error.response["Error"]["Code"] == "AccessDenied")
    return False


def test_the_trainer_reads_datasets_and_writes_models(storage: Storage) -> None:
    trainer = storage.client("trainer")
    trainer.put_object(Bucket=storage.name("models"), Key="papers/1/model.onnx", Body=b"graph", IfNoneMatch="*")

    assert trainer.get_object(Bucket=storage.name("models"), Key="papers/1/model.onnx")["Body"].read() == b"graph"
    assert trainer.list_objects_v2(Bucket=storage.name("datasets"))["KeyCount"] == 0
    trainer.delete_object(Bucket=storage.name("models"), Key="papers/1/model.onnx")
    assert refused(trainer.put_object, Bucket=storage.name("datasets"), Key="papers.csv", Body=b"")
    assert refused(trainer.list_objects_v2, Bucket=storage.name("probe"))


def test_the_predictor_only_reads_models(storage: Storage) -> None:
    storage.client("trainer").put_object(Bucket=storage.name("models"), Key="model.onnx", Body=b"graph")
    predictor = storage.client("predictor")

    assert predictor.get_object(Bucket=storage.name("models"), Key="model.onnx")["Body"].read() == b"graph"
    assert refused(predictor.put_object, Bucket=storage.name("models"), Key="model.onnx", Body=b"")
    assert refused(predictor.delete_object, Bucket=storage.name("models"), Key="model.onnx")
    assert refused(predictor.list_objects_v2, Bucket=storage.name("datasets"))


def test_the_probes_object_is_read_without_credentials_and_nothing_else_is(storage: Storage) -> None:
    address = f"{storage.endpoint}/{storage.name('probe')}"

    assert urllib.request.urlopen(f"{address}/ready", timeout=10).read() == b"ready\n"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(address, timeout=10)


def test_a_repetition_keeps_what_is_there_and_gives_a_user_its_new_secret_key(storage: Storage) -> None:
    storage.client("trainer").put_object(Bucket=storage.name("models"), Key="model.onnx", Body=b"graph")
    storage.give("trainer", "another-secret")

    said = storage.provision()

    assert f"bucket {storage.name('models')}: exists" in said
    assert storage.client("trainer").get_object(Bucket=storage.name("models"), Key="model.onnx")["Body"].read() == b"graph"


def test_no_secret_key_is_printed(storage: Storage) -> None:
    said = storage.provision()

    assert not [each for each in (SECRET, *storage.secrets.values()) if each in said]


def test_a_root_user_with_a_wrong_secret_key_is_refused_with_the_reason(s3_server: str) -> None:
    with pytest.raises(StorageRejected, match="add-user someone: 403 SignatureDoesNotMatch"):
        MinioAdmin(s3_server, KEY, "wrong-secret-key").put_user("someone", "secret-of-someone")


def test_a_server_that_does_not_answer_may_later() -> None:
    with pytest.raises(StorageUnavailable, match="no answer to add-canned-policy"):
        MinioAdmin("http://127.0.0.1:1", KEY, SECRET).put_policy("p", policy_document((UserAccess(bucket="b", verbs=("read",)),)))
