"""`python -m model.provisioning`: buckets, users and policies of an object storage that was just installed.

The last step writes the object that the readiness probe of the storage reads without credentials, so the storage is ready when
all of it is done. Every step can be repeated: what exists is kept, and a user gets the secret key of its Secret again.

Buckets and objects need S3 alone. Users need MinIO's admin API; for another storage the plan has none.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from model.escaping import PrintableErrors
from model.storage.minio_admin import MinioAdmin
from model.storage.objects import StorageError, StorageRejected, StorageUnavailable

if TYPE_CHECKING:
    from botocore.client import BaseClient

PAUSE_SECONDS = 2.0
PROBE_CONTENT = b"ready\n"
EXISTING = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}
# Actions of S3 on a bucket and on its objects, by what a role does there.
BUCKET_ACTIONS = {
    "read": ("s3:GetBucketLocation", "s3:ListBucket"),
    "write": ("s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"),
}
OBJECT_ACTIONS = {
    "read": ("s3:GetObject",),
    "write": ("s3:AbortMultipartUpload", "s3:DeleteObject", "s3:ListMultipartUploadParts", "s3:PutObject"),
}


class _ProvisioningModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class UserAccess(_ProvisioningModel):
    """Access of a user to a bucket."""

    bucket: str
    verbs: tuple[str, ...] = Field(description="read or write.")


class User(_ProvisioningModel):
    """A user and its policy; its keys are files of `folder`, as a mounted Secret has them."""

    name: str
    folder: Path
    access: tuple[UserAccess, ...]


class ProbeObject(_ProvisioningModel):
    """The object that the readiness probe reads."""

    bucket: str
    key: str
    public: bool = Field(description="Allow reading it without credentials, by a policy of the bucket.")


class ProvisioningPlan(_ProvisioningModel):
    """Contents of a new storage."""

    buckets: tuple[str, ...]
    users: tuple[User, ...]
    probe: ProbeObject


def policy_document(access: tuple[UserAccess, ...]) -> dict[str, Any]:
    """Return the policy, in AWS's language, that allows this access and nothing else."""
    statements = []
    for each in access:
        arn = f"arn:aws:s3:::{each.bucket}"
        for actions, resource in ((BUCKET_ACTIONS, arn), (OBJECT_ACTIONS, f"{arn}/*")):
            allowed = sorted({action for verb in each.verbs for action in actions[verb]})
            statements.append({"Effect": "Allow", "Action": allowed, "Resource": [resource]})
    return {"Version": "2012-10-17", "Statement": statements}


def provision(plan: ProvisioningPlan, client: BaseClient, admin: MinioAdmin, *, say: Callable[[str], None]) -> None:
    """Do every step of the plan. Raises StorageUnavailable if one is worth repeating, else StorageRejected."""
    for bucket in plan.buckets:
        say(f"bucket {bucket}: {_make_bucket(client, bucket)}")
    for user in plan.users:
        access_key, secret_key = _keys(user.folder)
        admin.put_user(access_key, secret_key)
        admin.put_policy(user.name, policy_document(user.access))
        admin.set_policy(access_key, user.name)
        say(f"user {user.name}: has its policy")
    _publish_probe(client, plan.probe)
    say(f"object {plan.probe.bucket}/{plan.probe.key}: written, the storage is ready")


def _keys(folder: Path) -> tuple[str, str]:
    try:
        return (folder / "AWS_ACCESS_KEY_ID").read_text(), (folder / "AWS_SECRET_ACCESS_KEY").read_text()
    except OSError as error:
        raise StorageRejected(f"{error.filename}: {error.strerror}") from error


def _make_bucket(client: BaseClient, bucket: str) -> str:
    def make() -> str:
        client.create_bucket(Bucket=bucket)
        return "created"

    return _of_s3(f"s3://{bucket}", make, lambda code: "exists" if code in EXISTING else None)


def _publish_probe(client: BaseClient, probe: ProbeObject) -> None:
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": ["*"]},
        "Action": ["s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{probe.bucket}/{probe.key}"],
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})

    def publish() -> str:
        if probe.public:
            client.put_bucket_policy(Bucket=probe.bucket, Policy=policy)
        client.put_object(Bucket=probe.bucket, Key=probe.key, Body=PROBE_CONTENT)
        return ""

    _of_s3(f"s3://{probe.bucket}/{probe.key}", publish)


def _of_s3(what: str, call: Callable[[], str], otherwise: Callable[[str], str | None] = lambda _: None) -> str:
    """Return what the call returns, or what stands for the code of its error. Raises StorageError for any other error."""
    import botocore.exceptions as boto

    try:
        return call()
    except boto.ClientError as error:
        answer = error.response
        code, status = answer.get("Error", {}).get("Code", ""), answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if (instead := otherwise(code)) is not None:
            return instead
        # A server that has just started may not know its root user or its disks yet.
        error_type = StorageUnavailable if status >= 500 or status == 429 else StorageRejected
        raise error_type(f"{what}: {error}") from error
    except boto.BotoCoreError as error:
        raise StorageUnavailable(f"{what}: {error}") from error


def repeat(step: Callable[[], None], *, seconds: float, say: Callable[[str], None]) -> None:
    """Repeat the step while the storage does not answer. Raises StorageError with its last reason."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return step()
        except StorageUnavailable as error:
            if time.monotonic() >= deadline:
                raise
            say(f"not yet: {error}")
        time.sleep(PAUSE_SECONDS)


@click.command(cls=PrintableErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--plan", required=True, help="Buckets, users and the probe's object, as JSON.")
@click.option("--seconds", default=300.0, show_default=True, help="Time to wait for the storage.")
def main(plan: str, seconds: float) -> None:
    """Make buckets, users and policies. Address and root credentials come from the variables that the AWS tools read."""
    import boto3

    try:
        wanted = ProvisioningPlan.model_validate_json(plan)
    except ValidationError as error:
        raise click.UsageError(f"--plan: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}") from error
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    keys = [os.environ.get(name, "") for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
    if not endpoint or not all(keys):
        raise click.UsageError("expected AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    client, admin = boto3.client("s3"), MinioAdmin(endpoint, *keys)
    try:
        repeat(lambda: provision(wanted, client, admin, say=click.echo), seconds=seconds, say=click.echo)
    except StorageError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
