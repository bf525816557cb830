"""Whatever users, the cluster and bad luck do, in whatever order: nothing forbidden happens, and all is well afterwards."""

from __future__ import annotations

import os
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from k8s.controller.objects.kinds import INFERENCE_SERVICE, TEXT_CLASSIFIER, TRAINING_RUN
from tests.support.fakes import Flaky
from tests.support.kubernetes.invariants import Invariants, at_rest
from tests.support.kubernetes.simulation import NAME, SPACE, Simulation

MORE = int(os.environ.get("SIMULATIONS", "0"))
OTHER = {"uri": "s3://datasets/other/"}
SCORES = (0.2, 0.5, 0.8, 0.9, 0.95)
EDITS: tuple[dict[str, Any], ...] = (
    {"dataset": OTHER},
    {"dataset": {"uri": "s3://datasets/papers/"}},
    {"dataset": {"testUri": "s3://datasets/test/"}},
    {"dataset": {"testUri": None}},
    {"training": {"seed": 1}},
    {"training": {"seed": 2}},
    {"training": {"timeout": "1h"}},
    {"training": {"baseModel": "minilm", "nodes": 2}},
    {"training": {"baseModel": None, "nodes": 1}},
    {"gate": {"minimum": 0.6}},
    {"gate": {"minimum": 0.1}},
    {"gate": {"minimum": None}},
    {"gate": {"tolerance": 1.0}},
    {"gate": {"tolerance": 0.0}},
    {"gate": {"score": "macro-f1"}},
    {"serving": {"version": "nowhere"}},
    {"serving": {"version": None}},
    {"serving": {"replicas": {"minimum": 2}}},
    {"serving": {"replicas": {"minimum": 1}}},
    {"serving": {"resources": {"limits": {"memory": "2Gi"}}}},
    {"suspend": True},
    {"suspend": False},
    {"history": {"runs": 1, "versions": 1}},
    {"history": {"runs": 10, "versions": 2}},
    {"triggers": {"schedule": "@hourly"}},
    {"triggers": {"schedule": "61 * * * *"}},
    {"triggers": {"schedule": None}},
    {"triggers": {"datasetChange": True, "datasetCheckInterval": "10s"}},
    {"triggers": {"datasetChange": False}},
    {"storage": {"deletionPolicy": "Delete"}},
    {"storage": {"deletionPolicy": "Keep"}},
    {"storage": {"secretName": None, "serviceAccountName": "cloud"}},
    {"storage": {"secretName": "labelwright-s3", "serviceAccountName": None}},
    {"storage": {"uri": "s3://elsewhere"}},
)
# How often each kind of step is drawn, beside the others.
STEPS = (
    *["work"] * 8,
    *["proceed"] * 12,
    *["edit"] * 4,
    *("pin", "score", "code", "content", "mishap", "mishap", "by hand", "by hand", "time", "hour", "broken", "mended"),
    *("restart", "flaky", "run by hand", "own run", "cancel", "delete", "rest"),
)


class Story:
    """A Simulation, and the steps that a test draws."""

    def __init__(self) -> None:
        self.simulation = Simulation()
        self.invariants = Invariants(self.simulation)
        self.simulation.add()
        self.runs = 0

    def do(self, step: str, number: int) -> None:
        getattr(self, step.replace(" ", "_"))(number)

    # Each step; the number chooses among what it may do.

    def work(self, _: int) -> None:
        self.simulation.work_once()

    def proceed(self, number: int) -> None:
        self._one_of(self.simulation.world.possible(), number)

    def mishap(self, number: int) -> None:
        self._one_of(self.simulation.world.mishaps(), number)

    def by_hand(self, number: int) -> None:
        self._one_of(self.simulation.world.by_hand(), number)

    def edit(self, number: int) -> None:
        self.simulation.edit(EDITS[number % len(EDITS)])

    def pin(self, number: int) -> None:
        if runs := self.simulation.runs():
            self.simulation.edit({"serving": {"version": runs[number % len(runs)]["metadata"]["name"]}})

    def time(self, number: int) -> None:
        self.simulation.advance(number % 40)

    def hour(self, _: int) -> None:
        self.simulation.advance(3600)

    def rest(self, _: int) -> None:
        self.simulation.rest()

    def restart(self, _: int) -> None:
        self.simulation.log.append("restart")
        self.simulation.restart()

    def flaky(self, number: int) -> None:
        self.simulation.log.append("flaky")
        self.simulation.restart(lambda cluster: Flaky(cluster, Random(number), share=0.3))

    def score(self, number: int) -> None:
        self.simulation.trainer.score = SCORES[number % len(SCORES)]

    def code(self, number: int) -> None:
        self.simulation.trainer.codes.append((64, 65, 75, 75, 143)[number % 5])

    def content(self, number: int) -> None:
        self.simulation.trainer.contents["s3://datasets/papers/"] = str(number)

    def broken(self, number: int) -> None:
        """What is served, or what may be next."""
        service = self.simulation.cluster.get(INFERENCE_SERVICE, SPACE, NAME)
        if service and number % 4 == 0:
            self.simulation.world.broken_versions.add(service["spec"]["predictor"]["model"]["storageUri"])
        for run in self.simulation.runs()[-1:]:
            self.simulation.world.broken_versions.add(f"s3://models/{NAME}/{run['metadata']['name']}/")

    def mended(self, _: int) -> None:
        self.simulation.world.broken_versions.clear()

    def run_by_hand(self, _: int) -> None:
        self.runs += 1
        self.simulation.make_run(f"hand-{self.runs}")

    def own_run(self, _: int) -> None:
        self.runs += 1
        storage = {"uri": "s3://models", "secretName": "s"}
        self.simulation.make_run(f"hand-{self.runs}", {"dataset": OTHER, "storage": storage, "training": {}, "gate": {}})

    def cancel(self, number: int) -> None:
        if runs := self.simulation.runs():
            name = runs[number % len(runs)]["metadata"]["name"]
            self.simulation.log.append(f"cancel {name}")
            self.simulation.cluster.merge(TRAINING_RUN, SPACE, name, {"spec": {"cancelled": True}})

    def delete(self, number: int) -> None:
        """If it is gone, apply it again."""
        if self.simulation.cluster.get(TEXT_CLASSIFIER, SPACE, NAME) is None:
            self.simulation.add()
        elif number % 4 == 0:
            self.simulation.remove()

    def _one_of(self, actions: list[Any], number: int) -> None:
        if actions:
            self.simulation.act(actions[number % len(actions)])

    def end(self) -> None:
        """Faults are over: a new process of the controller, and time to come to rest."""
        simulation = self.simulation
        simulation.log.append("the end")
        simulation.trainer.codes.clear()
        simulation.edit({"triggers": {"schedule": None, "datasetChange": False}, "serving": {"rollout": {"strategy": "rolling"}}})
        simulation.restart()
        simulation.settle()


def play(steps: list[tuple[str, int]]) -> Story:
    story = Story()
    try:
        for step in steps:
            story.do(*step)
        story.end()
        at_rest(story.simulation)
    except BaseException as error:
        error.add_note("\n".join(story.simulation.log[-400:]))
        raise
    return story


@settings(
    max_examples=MORE or 100,
    derandomize=not MORE,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 200)), min_size=20, max_size=120))
def test_whatever_happens_nothing_forbidden_does_and_all_is_well_afterwards(steps: list[tuple[str, int]]) -> None:
    play(steps)


@pytest.mark.parametrize("seed", range(MORE or 30))
def test_long_stories_end_well_too(seed: int) -> None:
    random = Random(seed)
    play([(random.choice(STEPS), random.randrange(200)) for _ in range(300)])
