"""Query for the version that a Pod serves. The Pod answers itself, since Kubernetes only knows the desired version."""

from __future__ import annotations

from typing import Any, Protocol
from urllib.parse import quote

from k8s.controller.clients.http_json import NoAnswer, get_json
from k8s.controller.objects.kinds import Document
from k8s.controller.objects.ports import PREDICTOR_HTTP_PORT

TIMEOUT_SECONDS = 2.0


class Probe(Protocol):
    """Query of serving Pods."""

    def version(self, pod: Document, classifier: str) -> str | None:
        """Return the version that the Pod reports; None if it does not answer in time."""


class HttpProbe:
    """Probe that reads the model's metadata over the open inference protocol. Any thread may call."""

    def __init__(self, *, port: int = PREDICTOR_HTTP_PORT, seconds: float = TIMEOUT_SECONDS) -> None:
        self._port = port
        self._seconds = seconds

    def version(self, pod: Document, classifier: str) -> str | None:
        address = pod.get("status", {}).get("podIP")
        if not address:
            return None
        host = f"[{address}]" if ":" in address else address
        try:
            status, metadata = get_json(
                f"http://{host}:{self._port}/v2/models/{quote(classifier, safe='')}", seconds=self._seconds
            )
        except NoAnswer:
            return None
        return _version(metadata) if status == 200 else None


def _version(metadata: dict[str, Any]) -> str | None:
    match metadata.get("versions"):
        case [str(version)]:
            return version
    return None
