"""Series by which alerts are raised: what the passes over a classifier and its runs tell Prometheus."""

from __future__ import annotations

from k8s.controller.objects.kinds import TRAINING_RUN
from tests.support.kubernetes.simulation import NAME, SPACE, Simulation


def value(simulation: Simulation, name: str, **labels: str) -> float | None:
    whose = {"namespace": SPACE, "classifier": NAME}
    return simulation.registry.get_sample_value(f"labelwright_{name}", {**whose, **labels})


def trained(simulation: Simulation, seed: int, *, score: float) -> None:
    simulation.trainer.score = score
    simulation.edit({"training": {"seed": seed}})
    simulation.settle()


def test_versions_that_fail_the_gate_are_counted_until_one_passes() -> None:
    simulation = Simulation()
    simulation.add({"gate": {"minimum": 0.8}})
    simulation.settle()
    found = [value(simulation, "classifier_gate_failures")]
    for seed, score in ((1, 0.5), (2, 0.6), (3, 0.9)):
        trained(simulation, seed, score=score)
        found.append(value(simulation, "classifier_gate_failures"))

    assert found == [0, 1, 2, 0]
    assert value(simulation, "training_runs_total", state="Rejected") == 2


def test_gate_failures_are_known_after_a_restart() -> None:
    simulation = Simulation()
    simulation.add({"gate": {"minimum": 0.95}})
    simulation.settle()

    simulation.restart()
    simulation.settle()

    assert value(simulation, "classifier_gate_failures") == 1
    assert value(simulation, "classifier_state", state="Rejected") == 1


def test_a_roll_out_that_went_back_shows_until_another_version_is_served() -> None:
    simulation = Simulation()
    simulation.add()
    simulation.settle()
    simulation.make_run("second")
    simulation.world.broken_versions.add(f"s3://models/{NAME}/second/")
    simulation.settle()
    assert value(simulation, "classifier_rollout_failed") == 1
    assert value(simulation, "classifier_degraded", reason="RollOutFailed") == 1

    simulation.make_run("third")
    simulation.settle()
    assert value(simulation, "classifier_rollout_failed") == 0
    assert value(simulation, "classifier_degraded", reason="RollOutFailed") is None


def test_attempts_without_a_storage_show_until_one_is_under_way() -> None:
    simulation = Simulation()
    simulation.trainer.codes = [75, 75]
    simulation.add()
    seen = set()
    while simulation.work_once() or simulation.world.step():
        seen.add(value(simulation, "training_storage_errors"))
        if simulation.states() == ["Published"]:
            break

    assert {0, 1, 2} <= seen
    assert value(simulation, "training_storage_errors") == 0


def test_a_training_is_counted_by_what_started_it_once() -> None:
    simulation = Simulation()
    simulation.add()
    simulation.settle()
    simulation.make_run("by-hand")
    simulation.settle()

    assert len(simulation.all(TRAINING_RUN)) == 2
    assert value(simulation, "training_runs_triggered_total", reason="NewSpec") == 1
    assert value(simulation, "training_runs_triggered_total", reason="Manual") == 1
    assert value(simulation, "training_runs_total", state="Published") == 2
