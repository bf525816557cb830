"""Manifests for the controller, and the trainer's settings: the examples are valid and complete, and every field of a resource
reaches its setting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from pydantic_core import PydanticUndefined

from k8s.controller.api.v1alpha1 import (
    BalanceSpec,
    DatasetSpec,
    GateSpec,
    TextClassifierSpec,
    TrackingSpec,
    TrainingRunSpec,
    TrainingSpec,
    read_text_classifier,
    read_training_run,
)
from k8s.controller.api.v1alpha1.fields import SpecModel
from k8s.controller.builders.training_job import Images, training_job
from k8s.controller.builders.training_run import asked_for
from k8s.controller.objects.kinds import Document
from k8s.controller.runtime.metrics import ControllerMetrics
from trainer.config.loading import load
from trainer.config.settings import Config
from trainer.run.processes import read_processes

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "k8s" / "manifests" / "controller"
FILES = sorted(file for file in FOLDER.glob("*.yaml") if file.stem != "00-crds")
SECRET, PATCH = FOLDER / "00-object-storage.yaml", FOLDER / "08-pin-a-version.yaml"
RESOURCES = [file for file in FILES if file not in (SECRET, PATCH)]
EVERY_FIELD = FOLDER / "02-every-field.yaml"
API = "labelwright.dev/v1alpha1"
RIVALS = {"dataset.labelColumns": "dataset.labelColumn", "storage.serviceAccountName": "storage.secretName"}

every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
every_resource = pytest.mark.parametrize("file", RESOURCES, ids=lambda file: file.stem)


def document_of(file: Path) -> Document:
    (found,) = yaml.safe_load_all(file.read_text())
    return dict(found)


def run_of(document: Document) -> Document:
    """The TrainingRun that comes of it, with what is the controller's part."""
    if document["kind"] == "TrainingRun":
        return document if "dataset" in document["spec"] else run_of(document_of(FOLDER / "01-smallest.yaml"))
    spec = {"classifier": document["metadata"]["name"], **asked_for(document)}
    return {**document, "kind": "TrainingRun", "metadata": {"name": "papers-7-1a2b3c"}, "spec": spec}


def container_of(run: Document) -> Document:
    """The trainer's, in the run's Job."""
    document = {**run, "metadata": {"namespace": "default", "uid": "1", **run["metadata"]}}
    job = training_job(document, read_training_run(run), Images("trainer:1", "predictor:1"))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return dict(container)


def expanded(value: str) -> str:
    """Return a variable's value as a container gets it: $(NAME) is another variable, and $$ is $."""
    return value.replace("$$", "$")


def config_of(run: Document) -> Config:
    """Return the trainer's configuration from the variables of its container."""
    container = container_of(run)
    assert container["args"] == ["train"]
    return load(None, {}, {each["name"]: expanded(each["value"]) for each in container["env"] if "value" in each})


# The files.


@every_resource
def test_the_controller_takes_what_is_to_be_applied(file: Path) -> None:
    document = document_of(file)
    read = {"TextClassifier": read_text_classifier, "TrainingRun": read_training_run}[document["kind"]]
    assert read(document)
    assert document["apiVersion"] == API
    assert "namespace" not in document["metadata"]


def test_a_patch_makes_a_spec_that_the_controller_takes() -> None:
    document, change = document_of(FOLDER / "01-smallest.yaml"), document_of(PATCH)
    assert read_text_classifier({"spec": {**document["spec"], **change["spec"]}}).serving.version


@every_file
def test_a_file_begins_with_what_it_shows_and_what_to_type(file: Path) -> None:
    comment = file.read_text().split("\napiVersion:")[0].split("\nspec:")[0]
    assert comment.startswith("# ")
    assert f"k8s/manifests/controller/{file.name}" in comment
    assert all(line.startswith("#") for line in comment.splitlines())


def test_the_files_are_numbered_one_after_the_other() -> None:
    assert [int(file.stem.split("-")[0]) for file in FILES] == list(range(len(FILES)))


@every_resource
def test_the_storages_secret_is_the_one_that_is_there(file: Path) -> None:
    secret = document_of(SECRET)
    assert run_of(document_of(file))["spec"]["storage"]["secretName"] == secret["metadata"]["name"]
    assert set(secret["stringData"]) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"}


@every_resource
def test_the_trainer_takes_what_the_controller_makes_of_it(file: Path) -> None:
    run = run_of(document_of(file))
    config = config_of(run)
    assert (config.name, config.version) == (run["spec"]["classifier"], run["metadata"]["name"])
    assert (config.output_dir, str(config.result_file)) == (run["spec"]["storage"]["uri"], "/dev/termination-log")
    assert (config.progress.log_format, config.progress.metrics_port) == ("json", 8080)
    assert config.dataset.uri == run["spec"]["dataset"]["uri"]


def test_the_series_in_the_document_are_those_of_the_controller() -> None:
    registry = CollectorRegistry()
    ControllerMetrics(registry)
    every = {f"{each.name}_total" if each.type == "counter" else each.name for each in registry.collect()}
    declared = {each for each in every if not each.startswith("process_")}  # those of every process
    lines = re.findall(r"^\| (`labelwright_.*?) \|", (ROOT / "docs" / "controller.md").read_text(), re.MULTILINE)
    assert set(re.findall(r"labelwright_\w+", " ".join(lines))) == declared


# The file of every field.


def fields(kind: type[SpecModel], path: str = "") -> Iterator[tuple[str, Any]]:
    """The path of each field that holds no others, and its default."""
    for field in kind.model_fields.values():
        here, inner = f"{path}{field.alias}", _spec_in(field.annotation)
        if inner is None:
            yield here, field.default
        else:
            yield from fields(inner, f"{here}.")


def _spec_in(annotation: Any) -> type[SpecModel] | None:
    if isinstance(annotation, type):
        return annotation if issubclass(annotation, SpecModel) else None
    return next((found for each in getattr(annotation, "__args__", ()) if (found := _spec_in(each))), None)


def leaves(value: Any, kind: type[SpecModel], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and value of every field of a document."""
    known = {field.alias: _spec_in(field.annotation) for field in kind.model_fields.values()}
    for name, held in value.items():
        inner = known[name]
        if inner is None:
            yield f"{path}{name}", held
        else:
            for each in held if isinstance(held, list) else [held]:
                yield from leaves(each, inner, f"{path}{name}.")


def without_comments(text: str) -> str:
    """With the fields that are commented out, too."""
    return re.sub(r"^( *)# (?= *(- )?[{\w])", r"\1", text.split("\nspec:")[1], flags=re.MULTILINE)


def test_every_field_is_there_if_only_in_a_comment() -> None:
    written = yaml.safe_load(without_comments(EVERY_FIELD.read_text()))
    assert {path for path, _ in leaves(written, TextClassifierSpec)} == {path for path, _ in fields(TextClassifierSpec)}


def test_every_field_that_is_set_and_has_a_default_is_set_to_it() -> None:
    spec = document_of(EVERY_FIELD)["spec"]
    smallest = document_of(FOLDER / "01-smallest.yaml")["spec"]
    assert read_text_classifier({"spec": spec}) == read_text_classifier({"spec": smallest})
    with_default = {path for path, default in fields(TextClassifierSpec) if default not in (None, {}, (), PydanticUndefined)}
    assert {path for path, _ in leaves(spec, TextClassifierSpec)} == with_default | {
        path for path, _ in leaves(smallest, TextClassifierSpec)
    }


def test_every_field_that_is_commented_out_could_be_set() -> None:
    text = without_comments(EVERY_FIELD.read_text())
    written = {"spec": yaml.safe_load(text)}
    for rival in RIVALS:
        section, name = rival.split(".")
        del written["spec"][section][name]
    assert read_text_classifier(written)


# From a field to the setting.

# Where the trainer's name of it is another one; the rest is the same in snake_case.
SETTINGS = {
    "dataset.labelColumn": "dataset.label_columns",
    "training.epochs": "training.num_epochs",
    "training.balance.strategy": "balance.sampling",
    "training.balance.threshold": "balance.threshold",
    "training.balance.share": "balance.oversample_share",
    "training.balance.loss": "balance.loss",
    "training.tracking.uri": "tracking.uri",
    "training.tracking.experiment": "tracking.experiment",
}
# What says where a training runs, and not what it is.
OF_THE_POD = {"nodes", "resources", "nodeSelector", "tolerations", "timeout"}
OF_THE_VERDICT = {"approve"}  # names what was published already

character = st.characters(exclude_categories=("Cs", "Cc", "Cn"))
text = st.text(character, min_size=1, max_size=16) | st.sampled_from(
    ["no", "null", "1e5", "~", "2026-11-23", "{a: b}", "a: b # c", "'"]
)
address = text.map(lambda each: each.replace("$", "S"))  # has none: the node would give it a meaning
column = text.map(lambda each: f"c{each}")
share = st.floats(0.01, 4)


def specs(kind: type[SpecModel], **strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[Document]:
    """Some of the fields of it: each has a strategy, or the test is not complete."""
    known = {str(field.alias) for field in kind.model_fields.values()} - OF_THE_POD - {"balance", "tracking", "labelColumns"}
    assert set(strategies) == known
    required = {name: each for name, each in strategies.items() if name == "uri" and kind is DatasetSpec}
    return st.fixed_dictionaries(required, optional={name: each for name, each in strategies.items() if name not in required})


datasets = specs(
    DatasetSpec,
    uri=address.map(lambda each: f"s3://datasets/{each}"),
    testUri=address.map(lambda each: f"hf://owner/{each}"),
    corrections=address.map(lambda each: f"s3://feedback/{each}"),
    textColumns=st.lists(column, min_size=1, max_size=4),
    labelColumn=text.map(lambda each: f"l{each}"),
    labelSeparator=st.sampled_from(["", ";", " ", "|", ", "]),
    labelRequired=st.booleans(),
    aliases=st.dictionaries(column, text.map(lambda each: f"l{each}") | st.just(""), max_size=3),
    sampleCount=st.integers(1, 10**9),
    minimumExamples=st.integers(1, 10**9),
)
balances = specs(
    BalanceSpec,
    strategy=st.sampled_from(["none", "undersample", "undersample-any", "mltl", "oversample"]),
    threshold=st.integers(1, 10**9),
    share=share,
    loss=st.sampled_from(["plain", "weighted", "focal"]),
)
trackings = specs(TrackingSpec, uri=address.map(lambda each: f"https://{each}"), experiment=text)
trainings = st.builds(
    lambda training, balance, tracking, base: {"baseModel": base, **training, "balance": balance, "tracking": tracking},
    specs(
        TrainingSpec,
        architecture=st.sampled_from(["auto", "linear", "transformer"]),
        baseModel=address,
        epochs=st.floats(1e-3, 1e6),
        batchSize=st.integers(1, 10**6),
        learningRate=st.floats(1e-9, 1e6),
        maxLength=st.integers(8, 8192),
        seed=st.integers(0, 2**32 - 1),
    ),
    balances,
    trackings,
    address,
)
gates = specs(
    GateSpec,
    score=st.sampled_from(["micro-f1", "macro-f1", "samples-f1", "weighted-f1", "accuracy"]),
    minimum=st.floats(0, 1),
    tolerance=st.floats(0, 1),
    servedMayFall=st.booleans(),
    approve=st.just("papers-1-1a2b3c"),
)


def a_run(**parts: Any) -> Document:
    spec = {"classifier": "papers", "storage": {"uri": "s3://models", "secretName": "object-storage"}, **parts}
    return {"apiVersion": API, "kind": "TrainingRun", "metadata": {"name": "papers-7-1a2b3c"}, "spec": spec}


def setting_of(path: str) -> str:
    return SETTINGS.get(path) or re.sub(r"(?<=[a-z])([A-Z])", lambda letter: f"_{letter[1].lower()}", path)


def found_at(config: Config, setting: str) -> Any:
    value: Any = config
    for name in setting.split("."):
        value = getattr(value, name)
    return list(value) if isinstance(value, tuple) else value


@given(dataset=datasets, training=trainings, gate=gates)
def test_every_field_reaches_its_setting(dataset: Document, training: Document, gate: Document) -> None:
    run = a_run(dataset=dataset, training=training, gate=gate)
    config = config_of(run)

    for path, value in leaves(run["spec"], TrainingRunSpec):
        section, name = path.split(".")[0], path.split(".")[-1]
        if section in ("dataset", "training", "gate") and name not in OF_THE_POD | OF_THE_VERDICT:
            expected = [value] if path == "dataset.labelColumn" else value
            assert found_at(config, setting_of(path)) == expected, path


@given(columns=st.lists(text.map(lambda each: f"l{each}"), min_size=1, max_size=5))
def test_several_columns_of_labels_reach_it_too(columns: list[str]) -> None:
    config = config_of(a_run(dataset={"uri": "s3://datasets/papers/", "labelColumns": columns}))
    assert list(config.dataset.label_columns) == columns


@pytest.mark.parametrize(
    "label",
    [
        pytest.param("\N{CAT FACE}", id="an-emoji"),
        pytest.param("$$", id="two-dollars"),
        pytest.param("$(HOME)", id="what-looks-like-a-variable"),
        pytest.param("\N{LATIN SMALL LETTER E WITH ACUTE}", id="an-accent"),
        pytest.param("line\nbreak", id="a-line-break"),
        pytest.param("", id="nothing-which-drops-the-label"),
    ],
)
def test_a_name_reaches_it_as_it_was_written(label: str) -> None:
    config = config_of(a_run(dataset={"uri": "s3://datasets/papers/", "aliases": {"old": label}}))
    assert config.dataset.aliases == {"old": label}


def test_what_is_not_asked_for_is_the_trainers_own_default() -> None:
    config, defaults = config_of(a_run(dataset={"uri": "s3://datasets/papers/"})), Config()
    ours = {"uri"}
    assert config.dataset.model_dump(exclude=ours) == defaults.dataset.model_dump(exclude=ours)
    for section in ("split", "balance", "training", "linear", "gate", "checkpoints", "tracking"):
        assert getattr(config, section) == getattr(defaults, section)


def test_the_served_version_is_what_it_is_compared_with() -> None:
    served = {"version": "papers-6-0a1b2c", "uri": "s3://models/papers/papers-6-0a1b2c/"}
    for digest in (None, "8" * 64):
        vouched = {"manifestSha256": digest} if digest else {}
        gate = config_of(a_run(dataset={"uri": "s3://datasets/papers/"}, served={**served, **vouched})).gate
        assert (gate.served_uri, gate.served_manifest_sha256) == (served["uri"], digest)


def test_the_pods_of_several_nodes_find_one_another() -> None:
    file = FOLDER / "03-two-nodes-with-an-encoder.yaml"
    variables = {each["name"]: each.get("value", "1") for each in container_of(run_of(document_of(file)))["env"]}
    processes = read_processes(variables, gpus=lambda: 0)
    assert (processes.rank, processes.world_size) == (1, document_of(file)["spec"]["training"]["nodes"])
    assert processes.node[0]["MASTER_ADDR"] == "papers-7-1a2b3c-0.papers-7-1a2b3c"
