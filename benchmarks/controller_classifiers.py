"""Create and change the classifiers of the controller benchmark, and watch them until they are ready."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

from controller_api import MERGE, Api, Document

MAX_READY_SECONDS = 1200.0  # for all classifiers
SCHEDULE_EVERY_CLASSIFIERS = 4  # of which one has a schedule


class TextClassifierLoad:
    """`number` TextClassifiers in one namespace, created and changed one every `every` seconds; 0: all at once."""

    def __init__(self, api: Api, namespace: str, number: int, *, every: float) -> None:
        self._api = api
        self._every = every
        self._path = f"/apis/labelwright.dev/v1alpha1/namespaces/{namespace}/textclassifiers"
        self._secrets = f"/api/v1/namespaces/{namespace}/secrets"
        self._statuses: dict[str, Document] = {}
        self.names = [f"classifier-{each:04}" for each in range(number)]

    @classmethod
    @asynccontextmanager
    async def watched(cls, api: Api, namespace: str, number: int, *, every: float) -> AsyncIterator[Self]:
        """Start to watch the statuses. No classifier exists yet."""
        load = cls(api, namespace, number, every=every)
        task = asyncio.create_task(load._watch())
        try:
            yield load
        finally:
            task.cancel()

    async def make(self) -> float:
        """Create all classifiers, and return the time at which the last was ready."""
        await self._api.call(
            "POST", self._secrets, {"metadata": {"name": "storage"}, "stringData": {"AWS_ACCESS_KEY_ID": "stub"}}
        )
        await self._one_after_another(
            self._api.call("POST", self._path, _document(name, at)) for at, name in enumerate(self.names)
        )
        return await self._until_ready(dict.fromkeys(self.names))

    async def change(self, number: int, *, seed: int) -> float:
        """Change some, so that they are trained again; return the time at which the last served its new version."""
        names = self.names[:number]
        before = {name: str(self._statuses[name].get("version")) for name in names}
        change = {"spec": {"training": {"seed": seed}}}
        await self._one_after_another(self._api.call("PATCH", f"{self._path}/{name}", change, content=MERGE) for name in names)
        return await self._until_ready(before)

    async def _one_after_another(self, calls: Iterable[Coroutine[Any, Any, Document]]) -> None:
        async def after(seconds: float, call: Coroutine[Any, Any, Document]) -> None:
            await asyncio.sleep(seconds)
            await call

        await asyncio.gather(*(after(at * self._every, call) for at, call in enumerate(calls)))

    async def _until_ready(self, before: Mapping[str, str | None]) -> float:
        """Wait until each one is ready with a new version."""
        end = time.monotonic() + MAX_READY_SECONDS
        while time.monotonic() < end:
            left = [name for name, version in before.items() if not self._is_ready(name, version)]
            if not left:
                return time.monotonic()
            await asyncio.sleep(0.2)
        raise TimeoutError(
            f"{len(left)} were not ready after {MAX_READY_SECONDS:g} s, such as {left[0]}: {self._statuses.get(left[0])}"
        )

    def _is_ready(self, name: str, before: str | None) -> bool:
        status = self._statuses.get(name, {})
        return status.get("state") == "Ready" and status.get("version") != before

    async def _watch(self) -> None:
        async for event in self._api.watch(self._path):
            document = event["object"]
            self._statuses[document["metadata"]["name"]] = document.get("status") or {}


def _document(name: str, at: int) -> Document:
    """Return a linear classifier whose dataset is checked every hour; some are also trained every night."""
    triggers = {
        "datasetChange": True,
        "datasetCheckInterval": "1h",
        **({} if at % SCHEDULE_EVERY_CLASSIFIERS else {"schedule": "0 3 * * *"}),
    }
    spec = {
        "dataset": {"uri": f"s3://stub/{name}.parquet"},
        "training": {"architecture": "linear"},
        "triggers": triggers,
        "storage": {"uri": "s3://stub/versions", "secretName": "storage"},
    }
    return {"apiVersion": "labelwright.dev/v1alpha1", "kind": "TextClassifier", "metadata": {"name": name}, "spec": spec}
