"""A controller that dies at any of its writes, hears of things late or twice, or reads what was: it all ends as it would have.

After Sieve (X. Sun et al., Automatic Reliability Testing for Cluster Management Controllers, OSDI 2022).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from k8s.controller.objects import names
from k8s.controller.objects.kinds import EVENT, POD, Document
from tests.support.fakes import Dying, Lagging, Remembering
from tests.support.kubernetes.invariants import Invariants, at_rest
from tests.support.kubernetes.simulation import NAME, Simulation

MORE = bool(os.environ.get("SIMULATIONS"))
PAPERS = "s3://datasets/papers/"
Step = Callable[[Simulation], Any]


def settled(simulation: Simulation) -> None:
    simulation.settle(60)
    simulation.hear_all()
    simulation.settle(60)


def edited(change: Document) -> Step:
    return lambda simulation: simulation.edit(change)


def content(text: str) -> Step:
    return lambda simulation: simulation.trainer.contents.update({PAPERS: text})


def broken(version: int) -> Step:
    """The version of that place among the runs, of those that come: known by the beginning of its name."""

    def begin(simulation: Simulation) -> None:
        simulation.listeners.append(lambda _, document: _break(simulation, document, f"{NAME}-{version}-"))

    return begin


def _break(simulation: Simulation, document: Document, prefix: str) -> None:
    if document["kind"] == "TrainingRun" and document["metadata"]["name"].startswith(prefix):
        simulation.world.broken_versions.add(f"s3://models/{NAME}/{document['metadata']['name']}/")


def scored(score: float) -> Step:
    return lambda simulation: setattr(simulation.trainer, "score", score)


def pinned(place: int) -> Step:
    return lambda simulation: simulation.edit({"serving": {"version": simulation.runs()[place]["metadata"]["name"]}})


def until_a_pod_runs(simulation: Simulation) -> None:
    """Until a training is under way."""
    for _ in range(1000):
        while simulation.deliver() or simulation.work_once():
            pass
        if any(pod["status"]["phase"] == "Running" for pod in simulation.all(POD)):
            return
        if simulation.world.step() is None:
            simulation.advance(10)
            simulation.hear_all()
    raise AssertionError("nothing is trained")


def added(**spec: Any) -> Step:
    return lambda simulation: simulation.add(spec)


def removed(simulation: Simulation) -> None:
    simulation.remove()


def fails_once(simulation: Simulation) -> None:
    simulation.trainer.codes.append(65)


CHECKED = {"datasetChange": True, "datasetCheckInterval": "60s"}
STORIES: dict[str, tuple[Step, ...]] = {
    "new": (added(), settled),
    "dataset-change": (added(triggers=CHECKED), settled, content("new"), settled, edited({"triggers": {"datasetChange": False}})),
    "supersede": (added(), until_a_pod_runs, edited({"training": {"seed": 1}}), settled),
    "nodes": (added(training={"baseModel": "minilm", "nodes": 2}), settled),
    "rejected": (added(gate={"minimum": 0.95}), settled, edited({"gate": {"minimum": 0.5}}), settled),
    "refused-while-served": (added(), settled, edited({"gate": {"minimum": 0.95}}), settled),
    "rollout-fails": (broken(2), added(), settled, edited({"training": {"seed": 1}}), settled),
    "pin": (added(), settled, edited({"training": {"seed": 1}}), settled, pinned(0), settled),
    "pin-while-it-rolls-out": (added(), settled, edited({"training": {"seed": 1}}), until_a_pod_runs, pinned(0), settled),
    "by-hand": (added(), settled, lambda simulation: simulation.make_run("hand"), settled),
    "delete": (added(storage={"deletionPolicy": "Delete"}), settled, removed, settled),
    "delete-while-it-trains": (added(storage={"deletionPolicy": "Delete"}), until_a_pod_runs, removed, settled),
    "history": (
        added(history={"runs": 2, "versions": 1}),
        *(step for seed in (1, 2, 3) for step in (edited({"training": {"seed": seed}}), settled)),
    ),
    "fails": (fails_once, added(), settled, edited({"dataset": {"minimumExamples": 2}}), settled),
}  # fmt: skip


def play(story: str, *, prepare: Step = lambda _: None, collects: bool = True) -> Simulation:
    simulation = Simulation(collects=collects)
    prepare(simulation)
    try:
        for step in STORIES[story]:
            simulation.log.append(f"--- {getattr(step, '__name__', '')}")
            step(simulation)
        simulation.settle()
    except BaseException as error:
        error.add_note("\n".join(simulation.log[-300:]))
        raise
    return simulation


PASSING = re.compile(
    r"(time|At|since|Timestamp)$|^(observedGeneration|generation|resourceVersion|uid|managedFields|seconds|podIP)$",
    re.IGNORECASE,
)


def end_state(simulation: Simulation) -> dict[str, Any]:
    """All objects, but for what differs from one run of the same story to the next."""
    found = {
        f"{each['kind']} {each['metadata']['name']}": _lasting(each)
        for each in simulation.cluster.everything()
        if each["kind"] not in (EVENT.kind, POD.kind)
    }
    pods = [each for each in simulation.all(POD) if "labelwright.dev/classifier" in each["metadata"]["labels"]]
    found["pods"] = sorted(str(each["metadata"].get("annotations", {}).get(names.SOURCE)) for each in pods if _serves(each))
    found["versions"] = sorted(simulation.trainer.published)
    return found


def _serves(pod: Document) -> bool:
    return names.SERVED_BY in pod["metadata"]["labels"]


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _lasting(each) for name, each in value.items() if not PASSING.search(name)}
    return [_lasting(each) for each in value] if isinstance(value, list) else value


def ends_alike(story: str, simulation: Simulation) -> None:
    expected = undisturbed(story)[0]
    found = end_state(simulation)
    try:
        assert found == expected
        at_rest(simulation)
    except AssertionError as error:
        error.add_note("\n".join(simulation.log[-300:]))
        raise


_UNDISTURBED: dict[str, tuple[dict[str, Any], int]] = {}


def undisturbed(story: str) -> tuple[dict[str, Any], int]:
    """How it ends, and after how many writes."""
    if story not in _UNDISTURBED:
        dying: list[Dying] = []

        def counted(cluster: Any) -> Dying:
            dying.append(Dying(cluster, after=10**9))
            return dying[-1]

        simulation = play(story, prepare=lambda each: each.restart(counted))
        _UNDISTURBED[story] = end_state(simulation), dying[0].writes
    return _UNDISTURBED[story]


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("before", [pytest.param(True, id="before"), pytest.param(False, id="after")])
def test_a_controller_may_die_at_any_of_its_writes(story: str, before: bool) -> None:
    for write in range(1 + before, undisturbed(story)[1] + 1, 1 if MORE else 7):

        def dying(simulation: Simulation, write: int = write) -> None:
            Invariants(simulation)
            simulation.restart(lambda cluster: Dying(cluster, after=write, before=before))

        ends_alike(story, play(story, prepare=dying))


@pytest.mark.parametrize("story", STORIES)
def test_events_may_come_late_and_twice(story: str) -> None:
    for seed in range(10 if MORE else 3):

        def late(simulation: Simulation, seed: int = seed) -> None:
            simulation.late, simulation.world.random = [], Random(seed)

        ends_alike(story, play(story, prepare=late))


@pytest.mark.parametrize("story", STORIES)
def test_lists_may_be_as_old_as_the_last_event(story: str) -> None:
    """From the memory of an API server that is behind, as the controller asks for them."""
    for seed in range(10 if MORE else 3):

        def behind(simulation: Simulation, seed: int = seed) -> None:
            Invariants(simulation)
            simulation.late, simulation.world.random = [], Random(seed)
            simulation.restart(lambda cluster: Remembering(cluster, Random(seed)))

        ends_alike(story, play(story, prepare=behind))


@pytest.mark.parametrize("story", STORIES)
def test_the_garbage_collector_may_come_late(story: str) -> None:
    simulation = play(story, collects=False)
    at_rest(simulation)
    # What a Pod publishes that should be gone, may be there.
    assert end_state(simulation) | {"versions": []} == undisturbed(story)[0] | {"versions": []}


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("lag", [1, 3, 10, 30])
def test_what_is_read_may_be_of_the_past(story: str, lag: int) -> None:
    """As from an API server that has not caught up with the one that was written to; a while later it has.

    How it ends may depend on what was seen in between, but it ends well: no result is lost, and what is asked for is there.
    """
    for seed in range(10 if MORE else 1):
        random = Random(seed)

        def lagging(simulation: Simulation, random: Random = random) -> None:
            Invariants(simulation, one_job=False)  # for a moment there may be two, of which one is superseded
            simulation.restart(lambda cluster: Lagging(cluster, behind=lambda: random.choice((0, 0, random.randint(1, lag)))))

        simulation = play(story, prepare=lagging)
        simulation.restart()
        simulation.settle()
        at_rest(simulation)


@pytest.mark.parametrize("story", STORIES)
def test_a_controller_that_is_restarted_may_read_what_was_before_its_death(story: str) -> None:
    """Killed at a write, and its successor does not see the last writes for a while."""
    for write in range(1, undisturbed(story)[1] + 1, 1 if MORE else 13):

        def dying(simulation: Simulation, write: int = write) -> None:
            Invariants(simulation, one_job=False)
            simulation.restart(lambda cluster: Dying(cluster, after=write))
            behind = iter([5] * 12)
            simulation.successor = lambda cluster: Lagging(cluster, behind=lambda: next(behind, 0))

        simulation = play(story, prepare=dying)
        simulation.restart()
        simulation.settle()
        at_rest(simulation)
