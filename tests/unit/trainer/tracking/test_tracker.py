from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import model.manifest
from model.manifest import Dataset, LearntCorrections
from tests.support.versions import make_manifest
from trainer.config.settings import Config, GateConfig, TrackingConfig
from trainer.evaluation.gate_measurement import measure
from trainer.tracking.mlflow_server import without_credentials
from trainer.tracking.tracker import Status, final_scores, open_tracker, parameters, tracked, version_tags

DATASET = Dataset(uri="s3://texts/", sha256="5e" * 32, rows=1234, columns=("text",))


def test_every_setting_that_decides_the_result_is_a_parameter() -> None:
    config = Config.model_validate({"training": {"seed": 7, "base_model": "minilm"}, "split": {"test_share": 0.2}})

    found = parameters(config, DATASET)

    assert found["training.seed"] == "7"
    assert found["training.base_model"] == "minilm"
    assert found["training.dropout"] == "null"
    assert found["split.test_share"] == "0.2"
    assert found["dataset.text_columns"] == '["title", "abstract"]'
    assert (found["dataset.sha256"], found["dataset.rows"]) == (DATASET.sha256, "1234")
    for section in ("dataset", "split", "balance", "training", "linear"):
        names = {f"{section}.{name}" for name in getattr(config, section).model_dump()}
        assert names <= found.keys()


def test_a_separate_test_set_is_reported_as_well() -> None:
    test = model.manifest.TestSet(uri="s3://test/", sha256="7e" * 32, rows=99)

    found = parameters(Config(), DATASET.model_copy(update={"test": test}))

    assert (found["dataset.test_sha256"], found["dataset.test_rows"]) == ("7e" * 32, "99")


def test_corrections_are_reported_with_their_numbers() -> None:
    learnt = LearntCorrections(
        uri="s3://feedback/", sha256="7e" * 32, dataset_sha256="5e" * 32, files=1, rows=9, withdrawn=1, texts=7,
        corrected=4, tested=1, added=2, left_out=1,
    )  # fmt: skip

    found = parameters(Config(), DATASET.model_copy(update={"corrections": learnt}))

    names = ("sha256", "corrected", "added", "left_out")
    assert [found[f"dataset.corrections_{name}"] for name in names] == ["7e" * 32, "4", "2", "1"]


def test_no_parameter_holds_credentials() -> None:
    address = "https://me:secret@host/path"
    config = Config.model_validate({"tracking": {"uri": address}, "dataset": {"uri": address}, "output_dir": address})

    found = parameters(config, DATASET)

    assert "secret" not in str(found)
    assert found["dataset.uri"] == "https://host/path"


@given(st.text(alphabet="ab:%!.-@", max_size=12), st.text(alphabet="ab:%!.-@", max_size=12))
def test_credentials_never_stay_in_an_address(user: str, password: str) -> None:
    text = f"API request to http://{user}:{password}@host:5000/api failed, http://plain/x@y"

    assert without_credentials(text) == "API request to http://host:5000/api failed, http://plain/x@y"


def test_scores_and_cost_have_a_name_each(tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path)

    found = final_scores(manifest)

    assert found["test/micro_f1"] == manifest.scores.test.micro_f1
    assert found["validation/subset_accuracy"] == manifest.scores.validation.subset_accuracy
    assert found["baseline/test/macro_f1"] == manifest.scores.baseline.test.macro_f1
    assert found["cost/cpu_seconds"] == manifest.training.cpu_seconds
    assert found["cost/milliseconds_per_text"] == manifest.scores.milliseconds_per_text
    assert not [name for name in found if "per_label" in name or name.endswith("/texts")]
    assert {type(value) for value in found.values()} == {float}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        pytest.param({}, {"labelwright.gate": "not asked"}, id="nothing-asked"),
        pytest.param({"minimum": 0.9}, {"labelwright.gate": "passed"}, id="passed"),
        pytest.param(
            {"minimum": 0.95},
            {
                "labelwright.gate": "failed",
                "labelwright.gate_reason": "refused: micro-f1 0.9000 is below gate.minimum 0.95",
            },
            id="failed",
        ),
    ],
)
def test_a_version_is_tagged_with_what_it_came_from_and_its_gate(
    asked: dict[str, float], told: dict[str, str], tmp_path: Path
) -> None:
    manifest = make_manifest(tmp_path, version="v9")

    assert version_tags(manifest, measure(GateConfig(**asked), manifest.scores, manifest.task)) == told | {
        "labelwright.version": "v9",
        "labelwright.dataset_sha256": manifest.dataset.sha256,
    }


@pytest.mark.parametrize("uri", [None, ""])
def test_without_an_address_nothing_is_reported(uri: str | None, tmp_path: Path) -> None:
    settings = TrackingConfig(uri=uri)

    with tracked(settings) as tracker:
        assert tracker.begin(Config(), DATASET) is None
        tracker.measured(1, {"loss": 1.0})
        manifest = make_manifest(tmp_path)
        tracker.published(
            manifest, tmp_path / "report.html", uri="s3://m/", gate=measure(GateConfig(), manifest.scores, manifest.task)
        )

    assert tracker.run_id is None


def test_a_tracker_that_was_never_begun_has_nothing_to_end() -> None:
    tracker = open_tracker(TrackingConfig(uri="http://127.0.0.1:1"))

    tracker.measured(1, {"loss": 1.0})
    tracker.end(Status.FAILED)

    assert tracker.run_id is None


def test_an_error_of_the_run_passes_through_the_tracker() -> None:
    with pytest.raises(ZeroDivisionError), tracked(TrackingConfig(uri="http://127.0.0.1:1")):
        raise ZeroDivisionError
