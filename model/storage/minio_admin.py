"""Users and policies of a MinIO server, over its admin API.

    MinioAdmin(endpoint, access_key, secret_key)
        .put_policy(name, document)            created or replaced
        .put_user(access_key, secret_key)      created, or gets this secret key
        .set_policy(access_key, policy)        the user's only policy afterwards

Every call can be repeated. MinIO signs these calls as S3 does, and wants secret keys encrypted with the caller's own.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any
from urllib.parse import urlencode

import urllib3

from model.storage.objects import StorageRejected, StorageUnavailable

API = "/minio/admin/v3"
SECONDS = 15
# MinIO's format of an encrypted body: salt, identifier of cipher and key derivation, nonce, one sealed fragment.
PBKDF2_AES_GCM = b"\x02"
PBKDF2_ROUNDS = 8192
SALT_BYTES, NONCE_BYTES, KEY_BYTES = 32, 8, 32
MAX_FRAGMENT_BYTES = 16 * 1024
LAST_FRAGMENT = b"\x80"


class MinioAdmin:
    """A MinIO server, or a fork of it, as its root user sees it.

    Methods raise StorageUnavailable if there is no answer, and StorageRejected if the server refuses.
    """

    def __init__(self, endpoint: str, access_key: str, secret_key: str) -> None:
        self.endpoint = endpoint.rstrip("/")
        self._keys = (access_key, secret_key)

    def put_policy(self, name: str, document: dict[str, Any]) -> None:
        self._put("add-canned-policy", {"name": name}, json.dumps(document).encode())

    def put_user(self, access_key: str, secret_key: str) -> None:
        user = json.dumps({"secretKey": secret_key, "status": "enabled"}).encode()
        self._put("add-user", {"accessKey": access_key}, encrypted(user, self._keys[1]))

    def set_policy(self, access_key: str, policy: str) -> None:
        self._put("set-user-or-group-policy", {"policyName": policy, "userOrGroup": access_key, "isGroup": "false"})

    def _put(self, call: str, query: dict[str, str], body: bytes = b"") -> None:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        request = AWSRequest(method="PUT", url=f"{self.endpoint}{API}/{call}?{urlencode(query)}", data=body)
        request.context["payload_signing_enabled"] = True
        S3SigV4Auth(Credentials(*self._keys), "s3", "us-east-1").add_auth(request)
        try:
            with urllib3.PoolManager(retries=False, timeout=SECONDS) as pool:
                answer = pool.request("PUT", request.url, body=body, headers=dict(request.headers))
        except urllib3.exceptions.HTTPError as error:
            raise StorageUnavailable(f"{self.endpoint}: no answer to {call}") from error
        if answer.status >= 300:
            error_type = StorageUnavailable if answer.status >= 500 or answer.status == 429 else StorageRejected
            raise error_type(f"{self.endpoint}: {call} {' '.join(query.values())}: {answer.status} {_reason(answer.data)}")


def encrypted(content: bytes, password: str) -> bytes:
    """Return the content as MinIO's admin API expects it, encrypted with the secret key of the user who sends it."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    assert len(content) < MAX_FRAGMENT_BYTES  # noqa: S101 - a user has two keys
    salt, nonce = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(NONCE_BYTES)
    cipher = AESGCM(hashlib.pbkdf2_hmac("sha256", password.encode(), salt, PBKDF2_ROUNDS, KEY_BYTES))
    header_tag = cipher.encrypt(nonce + _little_endian(0), b"", b"")
    sealed = cipher.encrypt(nonce + _little_endian(1), content, LAST_FRAGMENT + header_tag)
    return salt + PBKDF2_AES_GCM + nonce + sealed


def _little_endian(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _reason(content: bytes) -> str:
    """Return the server's message: JSON or XML, of which only the code is needed."""
    try:
        return str(json.loads(content)["Code"])
    except (ValueError, KeyError, TypeError):
        return ""
