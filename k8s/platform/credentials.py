"""Secrets of a release, made once and kept: of the object storage, of the gateway and of Valkey.

    make(cluster, plan, namespace) -> list[str]     one line for each Secret: created, changed or unchanged

A password is generated only where the Secret lacks it, so every step can be repeated and no upgrade changes a password. Settings
that are not secret, such as the address of the storage, follow the plan. Knows nothing of classifiers.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Callable
from string import Template

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from k8s.controller.clients.kubernetes import Cluster, Unavailable
from k8s.controller.objects.kinds import SECRET, Document

PASSWORD_BYTES = 30  # 40 characters, which is the longest secret key that MinIO takes
SEAWEEDFS_VERBS = {"read": ("Read", "List"), "write": ("Write",), "admin": ("Admin",)}

Generate = Callable[[], str]


class _SecretsModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class IdentityAccess(_SecretsModel):
    """Access of a user to a bucket."""

    bucket: str
    verbs: tuple[str, ...] = Field(description="read, write or admin.")


class SecretPlan(_SecretsModel):
    """A Secret: keys with the given settings, and keys with a generated password.

    derived: keys whose text contains passwords of this Secret, ${key}, or their SHA-256, ${key_sha256}.
    """

    name: str
    settings: dict[str, str]
    passwords: tuple[str, ...]
    derived: dict[str, str] = Field(default_factory=dict)


class Identity(_SecretsModel):
    """A user of SeaweedFS, whose keys are in the Secret of that name; none for requests without a signature."""

    name: str
    secret_name: str | None = None
    access: tuple[IdentityAccess, ...]


class IdentitiesPlan(_SecretsModel):
    """A Secret with the file in which SeaweedFS finds its users."""

    name: str
    key: str
    identities: tuple[Identity, ...]


class CredentialsPlan(_SecretsModel):
    """All Secrets of a release."""

    labels: dict[str, str]
    secrets: tuple[SecretPlan, ...]
    identities: IdentitiesPlan | None = None


def generated() -> str:
    """Return a password that needs no quotes anywhere."""
    return secrets.token_urlsafe(PASSWORD_BYTES)


def make(cluster: Cluster, plan: CredentialsPlan, namespace: str, *, generate: Generate = generated) -> list[str]:
    """Create each Secret that is absent, and complete each that lacks a key. Raises ClusterError."""
    held, lines = {}, []
    for each in plan.secrets:
        held[each.name], line = _kept(cluster, each, plan.labels, namespace, generate)
        lines.append(line)
    if plan.identities:
        content = json.dumps(_identities(plan.identities, held))
        file = SecretPlan(name=plan.identities.name, settings={plan.identities.key: content}, passwords=())
        lines.append(_kept(cluster, file, plan.labels, namespace, generate)[1])
    return lines


def _kept(
    cluster: Cluster, plan: SecretPlan, labels: dict[str, str], namespace: str, generate: Generate
) -> tuple[dict[str, str], str]:
    """Return what the Secret holds now, and what was done."""
    found = cluster.get(SECRET, namespace, plan.name)
    if found is None:
        wanted = _completed(plan, {key: generate() for key in plan.passwords})
        document: Document = {
            "apiVersion": SECRET.api_version,
            "kind": SECRET.kind,
            "metadata": {"name": plan.name, "namespace": namespace, "labels": labels},
            "type": "Opaque",
            "data": _encoded(wanted),
        }
        if cluster.create(document) is not None:
            return wanted, f"{plan.name}: created"
        found = cluster.get(SECRET, namespace, plan.name)
        if found is None:
            raise Unavailable(f"Secret {plan.name} appeared and is gone again")
    held = {key: base64.b64decode(value).decode() for key, value in (found.get("data") or {}).items()}
    missing = {key: generate() for key in plan.passwords if not held.get(key)}
    wanted = _completed(plan, {key: missing.get(key) or held[key] for key in plan.passwords})
    changed = {key: value for key, value in wanted.items() if key not in plan.passwords and held.get(key) != value}
    if not missing and not changed:
        return held, f"{plan.name}: unchanged"
    cluster.merge(
        SECRET, namespace, plan.name, {"data": _encoded({**missing, **changed})},
        resource_version=found["metadata"]["resourceVersion"],
    )  # fmt: skip
    return {**held, **missing, **changed}, f"{plan.name}: changed {', '.join(sorted({*missing, *changed}))}"


def _completed(plan: SecretPlan, passwords: dict[str, str]) -> dict[str, str]:
    """Return everything that the Secret is to hold."""
    hashes = {f"{key}_sha256": hashlib.sha256(value.encode()).hexdigest() for key, value in passwords.items()}
    derived = {key: Template(text).substitute(passwords | hashes) for key, text in plan.derived.items()}
    return {**plan.settings, **passwords, **derived}


def _encoded(texts: dict[str, str]) -> dict[str, str]:
    return {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}


def _identities(plan: IdentitiesPlan, held: dict[str, dict[str, str]]) -> Document:
    return {"identities": [_identity(each, held) for each in plan.identities]}


def _identity(identity: Identity, held: dict[str, dict[str, str]]) -> Document:
    actions = [
        verb if verb == "Admin" else f"{verb}:{access.bucket}"
        for access in identity.access
        for name in access.verbs
        for verb in SEAWEEDFS_VERBS[name]
    ]
    keys = held.get(identity.secret_name or "", {})
    pair = [{"accessKey": keys["AWS_ACCESS_KEY_ID"], "secretKey": keys["AWS_SECRET_ACCESS_KEY"]}] if keys else []
    return {"name": identity.name, **({"credentials": pair} if pair else {}), "actions": actions}
