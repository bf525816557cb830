"""Events are written beside the passes."""

from __future__ import annotations

import pytest

from k8s.controller.clients.kubernetes import EVENT, Cluster, Unavailable
from k8s.controller.objects.kinds import Document
from k8s.controller.runtime.recorder import Recorder
from tests.support.fakes import FakeCluster, Wrapped


def event(name: str) -> Document:
    metadata = {"name": name, "namespace": "a"}
    return {"apiVersion": "v1", "kind": "Event", "metadata": metadata, "message": name, "reason": "Answers", "type": "Normal"}


class RefusesTheFirst(Wrapped):
    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.first = True

    def create(self, document: Document) -> Document | None:
        if self.first:
            self.first = False
            raise Unavailable("not now")
        return super().create(document)


def written(cluster: FakeCluster) -> list[str]:
    return [each["metadata"]["name"] for each in cluster.list(EVENT, "a", labels={})]


def test_those_that_wait_are_written_before_it_closes() -> None:
    cluster = FakeCluster()
    recorder = Recorder(cluster)
    for number in range(50):
        recorder(event(f"event-{number:02}"))
    recorder.close()

    assert written(cluster) == [f"event-{number:02}" for number in range(50)]


def test_one_that_cannot_be_written_hinders_no_other(caplog: pytest.LogCaptureFixture) -> None:
    cluster = FakeCluster()
    recorder = Recorder(RefusesTheFirst(cluster))
    with caplog.at_level("INFO"):
        recorder(event("lost"))
        recorder(event("kept"))
        recorder.close()

    assert written(cluster) == ["kept"]
    assert "an event was not written: not now" in caplog.text
