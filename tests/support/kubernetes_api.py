"""Kubernetes API that lists the InferenceServices of one namespace, for a gateway that runs outside of a cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import yaml

LABEL = "labelwright.dev/classifier"


class NamespaceApi:
    """Objects of the namespace. labelled, unlabelled: names of its InferenceServices; refuses: answer 403."""

    def __init__(self, namespace: str) -> None:
        self.path = f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices"
        self.labelled: list[str] = []
        self.unlabelled: list[str] = []
        self.refuses = False
        self.kubeconfig = Path()

    def answer(self, url: str) -> tuple[int, dict[str, object]]:
        """Return status and document, as the API server gives them."""
        parts = urlsplit(url)
        if self.refuses:
            return 403, {"kind": "Status", "reason": "Forbidden"}
        if parts.path != self.path:
            return 404, {"kind": "Status", "reason": "NotFound"}
        selected = parse_qs(parts.query).get("labelSelector") == [LABEL]
        items = [{"metadata": {"name": name, "labels": {LABEL: name}}} for name in self.labelled]
        items += [] if selected else [{"metadata": {"name": name}} for name in self.unlabelled]
        return 200, {"kind": "InferenceServiceList", "apiVersion": "serving.kserve.io/v1beta1", "items": items}


@contextmanager
def namespace_api(folder: Path, namespace: str) -> Iterator[NamespaceApi]:
    """Serve the namespace, with a kubeconfig that leads there."""
    api = NamespaceApi(namespace)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, document = api.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.kubeconfig = folder / "kubeconfig"
    cluster = {"server": f"http://127.0.0.1:{server.server_port}"}
    document = {
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    api.kubeconfig.write_text(yaml.safe_dump(document))
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
