"""Submit texts to the gateway and wait for each answer until /tmp/stop exists: `tasks.py GATEWAY PREDICTOR MODEL`, in a Pod.

Each thread has one task at a time: it sends it until it is accepted, asks until it is answered, and compares the answer with the
predictor's own. Prints a line of JSON a second, and one at the end: tasks accepted and answered, requests that were refused and
sent again, and faults.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

GATEWAY, PREDICTOR, MODEL = sys.argv[1:]
STOP = Path("/tmp/stop")
THREADS = 16
PAUSE = 0.2  # seconds between a refusal and the next request
PATIENCE = 30.0
AGAIN = {0, 429, 503}  # 0: no answer
TEXTS = [f"{verb} the {noun} of an array" for verb in ("Draw", "Sort", "Fit", "Parse") for noun in ("mean", "axis", "shape")]


def send(url: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any], str]:
    """Return status, document and Location of the answer; status 0 if there is none."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, json.load(answer), answer.headers.get("Location", "")
    except urllib.error.HTTPError as error:
        return error.code, {"said": error.read(300).decode(errors="replace")}, ""
    except (OSError, http.client.HTTPException, ValueError):
        return 0, {}, ""


def asked_directly(text: str) -> list[str]:
    """Return the labels that the predictor gives."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}
    status, document, _ = send(f"http://{PREDICTOR}/v2/models/{MODEL}/infer", {"inputs": [tensor]})
    if status != 200:
        raise SystemExit(f"the predictor answers {status} {document}")
    (labels,) = (each for each in document["outputs"] if each["name"] == "labels")
    return [label for label in labels["data"] if label]


class Tasks:
    """Threads that submit, and what became of their tasks. A thread ends with a submission that is a fault."""

    def __init__(self) -> None:
        self._token = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
        self._expected = {text: asked_directly(text) for text in TEXTS}
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._counts = {"accepted": 0, "answered": 0, "refused": 0}
        self._faults: list[str] = []

    def run(self) -> None:
        threads = [threading.Thread(target=self._go_on) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            self._tell()
            time.sleep(1)
        self._tell()

    def _go_on(self) -> None:
        while not STOP.exists():
            number = next(self._numbers)
            text = TEXTS[number % len(TEXTS)]
            body = {"article": text, "classifier": MODEL}
            status, _, location = self._patiently("/api/predict/", body, {"Idempotency-Key": f"task-{number}"})
            if status != 202:
                return
            self._count("accepted")
            while status == 202:
                status, answer, _ = self._patiently(f"{location}?wait=10")
            if status == 200 and answer["predictions"] == self._expected[text]:
                self._count("answered")
            elif status == 200:
                self._faults.append(f"{text}: {answer['predictions']} instead of {self._expected[text]}")

    def _patiently(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any], str]:
        """Send it until it is neither refused for now nor unanswered. Any other error is a fault."""
        while True:
            status, document, location = send(f"http://{GATEWAY}{path}", body, {**self._token, **(headers or {})})
            if status not in AGAIN:
                if status not in (200, 202):
                    self._faults.append(f"{path}: {status} {document}")
                return status, document, location
            self._count("refused")
            time.sleep(PAUSE)

    def _count(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1

    def _tell(self) -> None:
        sys.stdout.write(json.dumps({**self._counts, "faults": self._faults[:20]}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    Tasks().run()
