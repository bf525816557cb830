"""Rights of the controller in the chart are those that it uses: none is missing, and none is unused."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import kopf
import yaml

from k8s.controller import handlers
from k8s.controller.__main__ import LEASE as LEASE_NAME
from k8s.controller.objects.kinds import KINDS
from k8s.controller.reconcile.apply_cache import ApplyCache
from k8s.controller.runtime.leader import LeaderCandidate, Lease
from k8s.controller.runtime.queue import WorkQueue
from tests.support.fakes import Counting, FakeClock, FakeCluster
from tests.support.kubernetes.simulation import Simulation

Right = tuple[str, str, str]  # group, resource, verb
TEMPLATES = Path(__file__).parents[2] / "charts" / "labelwright" / "templates" / "controller"
# What the API server asks for. An apply may make the object: then it asks for both.
VERBS = {
    "get": ("get",),
    "list": ("list",),
    "create": ("create",),
    "apply": ("create", "patch"),
    "merge": ("patch",),
    "write_status": ("update",),
    "delete": ("delete",),
}


def rules(file: str, after: str) -> list[dict[str, Any]]:
    """Return the rules after this line, up to the next line of Helm or of another document. They do not depend on values."""
    lines = (TEMPLATES / file).read_text().partition(f"{after}\n")[2].splitlines()
    end = next(number for number, line in enumerate(lines) if line.startswith(("{{", "---")))
    found: list[dict[str, Any]] = yaml.safe_load("\n".join(lines[:end]))
    return found


def given(rules: Iterable[dict[str, Any]]) -> list[Right]:
    return [
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def needed(calls: Iterable[tuple[str, str]]) -> set[Right]:
    """For these verbs of a Cluster, each with the kind that it was used on."""
    kinds = {each.kind: each for each in KINDS}
    return {
        (kinds[name].api_version.rpartition("/")[0], kinds[name].plural + ("/status" if call == "write_status" else ""), verb)
        for call, name in calls
        for verb in VERBS[call]
    }


def watched() -> set[Right]:
    """Return the rights that kopf needs, which lists and watches."""
    registry = kopf.OperatorRegistry()
    handlers.register(registry, WorkQueue(), ApplyCache(), lambda _: None)
    heard = [each.selector for each in registry._watching.get_all_handlers() if each.selector]
    return {(str(each.group), str(each.plural or each.any_name), verb) for each in heard for verb in ("list", "watch")}


def a_life() -> set[tuple[str, str]]:
    """Everything that may become of a classifier and its runs, for want of which a right would look superfluous."""
    simulation = Simulation()
    counting = Counting(simulation.cluster)
    simulation.restart(lambda _: counting)
    several = {"baseModel": "minilm", "nodes": 2}
    looks = {"datasetChange": True, "datasetCheckInterval": "60s"}
    simulation.add({"training": several, "triggers": looks, "storage": {"deletionPolicy": "Delete"}})
    simulation.make_run("by-hand")  # and adopted
    simulation.settle()
    simulation.edit({"training": {"seed": 1}, "history": {"runs": 1, "versions": 1}})
    while simulation.runs()[-1].get("status", {}).get("state") != "Running":
        assert simulation.work_once() or simulation.world.step()
    simulation.edit({"training": {"seed": 2}})  # what runs is stopped
    simulation.settle()
    simulation.remove()
    simulation.settle()
    return set(counting.calls)


def test_the_role_has_each_right_that_is_used_and_no_other() -> None:
    role = given(rules("_helpers.tpl", '{{- define "labelwright.controller.rules" -}}'))

    assert sorted(role) == sorted(watched() | needed(a_life()))


def test_the_role_of_leader_election_too_and_for_no_other_lease() -> None:
    cluster, clock = Counting(FakeCluster(clock=FakeClock())), FakeClock()
    first, second = (
        LeaderCandidate(cluster, Lease("home", LEASE_NAME, holder), clock=lambda: clock().timestamp()) for holder in ("a", "b")
    )
    assert first.attempt()
    assert first.attempt()
    first.release()
    assert second.attempt()

    role = rules("leader-election.yaml", "rules:")
    assert sorted(given(role)) == sorted(needed(cluster.calls))
    # Of one that is made the API server does not know the name.
    places = {verb: rule.get("resourceNames") for rule in role for verb in rule["verbs"]}
    assert places == {"create": None, "get": [LEASE_NAME], "patch": [LEASE_NAME]}
