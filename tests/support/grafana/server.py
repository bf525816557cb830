"""A stand-in for Grafana's image: it reads the provisioning folder as Grafana does, and is healthy only if all of it is right.

    python server.py

It answers /api/health, /api/search, /api/datasources and /metrics. It draws nothing. Like Grafana, it reads data sources when it
starts, looks at the folders of the dashboards again and again, writes its database below GF_PATHS_DATA, and puts variables into
provisioning files. It is stricter: where Grafana only logs, it is unhealthy and tells why. That is a dashboard without a title or
a uid, one of the schema v2, two with the same uid, a folder that is missing or empty, or a data source without an address.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

PROVISIONING = Path(os.environ.get("GF_PATHS_PROVISIONING", "/etc/grafana/provisioning"))
DATA = Path(os.environ.get("GF_PATHS_DATA", "/var/lib/grafana"))
SOURCES = {"prometheus"}
STARTED = time.time()


class Wrong(Exception):
    """Something that Grafana would not load; the message names the file."""


def documents(folder: str, items: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The items of the files of a folder below the provisioning folder, with variables put in."""
    for path in sorted((PROVISIONING / folder).glob("*.y*ml")):
        document = yaml.safe_load(path.read_text())
        if not isinstance(document, dict) or document.get("apiVersion") != 1:
            raise Wrong(f"{path}: expected apiVersion 1")
        for each in document.get(items) or ():
            yield path, expanded(each, path)


def expanded(value: Any, path: Path) -> Any:
    """The value with environment variables in place of $NAME and ${NAME}."""
    if isinstance(value, dict):
        return {name: expanded(each, path) for name, each in value.items()}
    if isinstance(value, list):
        return [expanded(each, path) for each in value]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in os.environ:
            raise Wrong(f"{path}: there is no variable {name}")
        return os.environ[name]

    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", variable, value)


def datasources() -> list[dict[str, Any]]:
    """The data sources, each with a uid and an address."""
    found: list[dict[str, Any]] = []
    for path, each in documents("datasources", "datasources"):
        if each.get("type") not in SOURCES or not re.match("https?://.", str(each.get("url"))):
            raise Wrong(
                f"{path}: the data source {each.get('name')} has the type {each.get('type')} and the address {each.get('url')}"
            )
        if not each.get("uid") or each["uid"] in [other["uid"] for other in found]:
            raise Wrong(f"{path}: the data source {each.get('name')} has no uid of its own")
        found.append(each)
    if sum(bool(each.get("isDefault")) for each in found) != 1:
        raise Wrong(f"{PROVISIONING}/datasources: expected one default among {len(found)} data sources")
    return found


def dashboards() -> list[dict[str, Any]]:
    """Title, uid and folder of every dashboard of every provider."""
    found: dict[str, dict[str, Any]] = {}
    for path, provider in documents("dashboards", "providers"):
        folder = Path((provider.get("options") or {}).get("path", "/nowhere"))
        if provider.get("type") != "file" or not folder.is_dir():
            raise Wrong(f"{path}: the provider {provider.get('name')} has no folder {folder}")
        # A ConfigMap is mounted with a link to a hidden folder, which Grafana does not go into.
        files = [each for each in sorted(folder.rglob("*.json")) if not any(part.startswith("..") for part in each.parts)]
        if not files:
            raise Wrong(f"{folder}: there is no dashboard")
        for file in files:
            each = dashboard(file)
            if each["uid"] in found:
                raise Wrong(f"{file}: the uid {each['uid']} is that of {found[each['uid']]['file']}")
            found[each["uid"]] = {**each, "folderTitle": provider.get("folder", ""), "file": str(file)}
    if not found:
        raise Wrong(f"{PROVISIONING}/dashboards: there is no provider")
    return list(found.values())


def dashboard(file: Path) -> dict[str, Any]:
    """Title and uid of one of the classic schema."""
    try:
        document = json.loads(file.read_text())
    except ValueError as error:
        raise Wrong(f"{file}: {error}") from error
    if "spec" in document or "elements" in document or str(document.get("apiVersion", "")).startswith("dashboard.grafana.app/v2"):
        raise Wrong(f"{file}: the schema v2 cannot be provisioned by a file")
    if not document.get("title") or not re.fullmatch(r"[-\w]{1,40}", str(document.get("uid", ""))):
        raise Wrong(f"{file}: expected a title, and a uid of at most 40 letters, digits, - and _")
    if not isinstance(document.get("schemaVersion"), int) or not isinstance(document.get("panels"), list):
        raise Wrong(f"{file}: expected a schemaVersion and panels")
    return {"title": document["title"], "uid": document["uid"], "panels": len(document["panels"])}


def check_settings() -> None:
    """Refuse a default password, an anonymous user who may change something, and a data folder that cannot be written to."""
    anonymous = os.environ.get("GF_AUTH_ANONYMOUS_ENABLED") == "true"
    no_admin = os.environ.get("GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION") == "true"
    password = os.environ.get("GF_SECURITY_ADMIN_PASSWORD", "admin")
    if password == "admin" and not (anonymous and no_admin):
        raise Wrong("the administrator has the default password")
    if anonymous and os.environ.get("GF_AUTH_ANONYMOUS_ORG_ROLE", "Viewer") != "Viewer":
        raise Wrong("whoever is not logged in may change something")
    (DATA / "grafana.db").touch()
    (DATA / "plugins").mkdir(exist_ok=True)
    home = os.environ.get("GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH")
    if home:
        dashboard(Path(home))


class Handler(BaseHTTPRequestHandler):
    """The part of Grafana's API that tells what was loaded."""

    def do_GET(self) -> None:
        """Answer with JSON, at /metrics with a series."""
        answers = {
            "/api/health": lambda: {"database": "ok"},
            "/api/search": dashboards,
            "/api/datasources": lambda: self.server.sources,
        }
        if self.path == "/metrics":
            return self._send(200, "text/plain; version=0.0.4", f"process_start_time_seconds {STARTED}\n")
        answer = answers.get(self.path.partition("?")[0])
        try:
            if self.path.startswith("/api/health"):
                dashboards()
            status, body = (200, answer()) if answer else (404, {"message": "Not found"})
        except Wrong as error:
            status, body = 503, {"database": "failing", "message": str(error)}
        return self._send(status, "application/json", json.dumps(body))

    def _send(self, status: int, kind: str, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class Server(ThreadingHTTPServer):
    """A server with the data sources that were read when it started."""

    sources: list[dict[str, Any]]


def main() -> None:
    """Check, then answer on GF_SERVER_HTTP_PORT, 3000 by default."""
    try:
        check_settings()
        sources = datasources()
    except (Wrong, OSError) as error:
        sys.exit(f"grafana stand-in: {error}")
    server = Server(("", int(os.environ.get("GF_SERVER_HTTP_PORT", "3000"))), Handler)
    server.sources = sources
    server.serve_forever()


if __name__ == "__main__":
    main()
