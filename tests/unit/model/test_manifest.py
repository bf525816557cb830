"""Valid and invalid manifests."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model.artifact import ArtifactRejected, parse_manifest, to_json
from model.manifest import LearntCorrections, Manifest
from tests.support.versions import make_manifest


def fields(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(to_json(make_manifest(tmp_path)))
    return found


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path)

    assert parse_manifest(to_json(manifest), where="here") == manifest


def test_a_version_that_may_give_no_label_is_read_as_it_was_written(tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path, labels=("spam",), label_required=False)

    assert parse_manifest(to_json(manifest), where="here") == manifest
    assert (manifest.schema_version, json.loads(to_json(manifest))["label_required"]) == (2, False)


def test_a_version_that_requires_a_label_is_one_that_older_releases_read(tmp_path: Path) -> None:
    written = fields(tmp_path)

    assert written["schema_version"] == 1
    assert "label_required" not in written
    assert "without_label" not in written["reference"]
    assert written["scores"]["test"].keys().isdisjoint({"without_label", "predicted_without_label"})


LEARNT = {
    "uri": "s3://feedback/", "sha256": "7e" * 32, "dataset_sha256": "5e" * 32, "files": 1, "rows": 9, "withdrawn": 1,
    "texts": 7, "corrected": 4, "tested": 1, "added": 2, "left_out": 1,
}  # fmt: skip


def test_a_version_without_corrections_is_one_that_older_releases_read(tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path)

    assert "corrections" not in fields(tmp_path)["dataset"]
    assert manifest.dataset.own_sha256 == manifest.dataset.sha256
    assert manifest.dataset.rows_with_added == manifest.dataset.rows


def test_a_version_with_corrections_is_read_as_it_was_written_and_knows_both_hashes(tmp_path: Path) -> None:
    made = make_manifest(tmp_path)
    learnt = LearntCorrections.model_validate(LEARNT)
    dataset = made.dataset.model_copy(update={"corrections": learnt, "sha256": learnt.covering_sha256})
    manifest = made.model_copy(update={"dataset": dataset})

    assert parse_manifest(to_json(manifest), where="here") == manifest
    assert dataset.own_sha256 == "5e" * 32 != dataset.sha256
    assert dataset.sha256 == hashlib.sha256(("5e" * 32 + "7e" * 32).encode()).hexdigest()
    assert dataset.rows_with_added == made.dataset.rows + 2
    assert LearntCorrections.model_validate(LEARNT | {"files": 0}).covering_sha256 == "5e" * 32


@pytest.mark.parametrize("changed", [{"added": 3}, {"tested": 5}, {"left_out": 0}])
def test_every_text_with_a_correction_is_counted_once(changed: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="texts is not the sum of corrected, added and left_out, or tested is more"):
        LearntCorrections.model_validate(LEARNT | changed)


def test_the_same_manifest_is_the_same_bytes(tmp_path: Path) -> None:
    assert to_json(make_manifest(tmp_path)) == to_json(make_manifest(tmp_path))


def test_a_manifest_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        make_manifest(tmp_path).version = "v2"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param({"colour": "red"}, "colour: Extra inputs are not permitted", id="unknown-key"),
        pytest.param(
            {"schema_version": 3}, "schema_version is 3, this release reads 2: use a newer Labelwright", id="later-schema"
        ),
        pytest.param({"schema_version": 0}, "schema_version", id="no-such-schema"),
        pytest.param({"labels": ["one"]}, "labels", id="a-single-label"),
        pytest.param(
            {"label_required": False}, "label_required is false: expected schema_version 2, found 1", id="schema-of-a-label"
        ),
        pytest.param(
            {"label_required": False, "schema_version": 2}, "reference.without_label is missing", id="no-share-without-label"
        ),
        pytest.param(
            {"label_required": False, "schema_version": 2, "task": "single-label"}, "the task is single-label", id="single"
        ),
        pytest.param({"labels": ["a", "b", "a"]}, "manifest: labels holds a name twice", id="label-twice"),
        pytest.param({"labels": ["a", "", "b"]}, "manifest: labels holds an empty name", id="label-without-a-name"),
        pytest.param({"thresholds": [0.5]}, "thresholds has 1 entries for 3 labels", id="too-few-thresholds"),
        pytest.param({"thresholds": [0.5, 0.5, 1.5]}, "thresholds.2", id="threshold-above-1"),
        pytest.param({"version": "../v1"}, "version", id="version-that-climbs"),
        pytest.param({"classifier": "Papers"}, "classifier", id="name-that-kubernetes-refuses"),
        pytest.param({"max_length": 0}, "max_length", id="no-length"),
        pytest.param(
            {"files": {"../model.onnx": {"sha256": "0" * 64, "size": 1}}}, "not a plain file name", id="file-that-climbs"
        ),
        pytest.param({"files": {"model.onnx": {"sha256": "abc", "size": 1}}}, "files.model.onnx.sha256", id="no-checksum"),
    ],
)
def test_a_wrong_manifest_is_refused_with_the_fields_name(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    content = json.dumps(fields(tmp_path) | changed).encode()

    with pytest.raises(ArtifactRejected) as refused:
        parse_manifest(content, where="s3://models/papers/v1/manifest.json")

    assert str(refused.value).startswith("s3://models/papers/v1/manifest.json")
    assert said in str(refused.value)


def test_the_same_error_of_many_values_of_a_field_is_reported_once(tmp_path: Path) -> None:
    changed = {"thresholds": [float("nan"), 0.5, -1, 2], "max_length": 0}

    with pytest.raises(ArtifactRejected) as refused:
        parse_manifest(json.dumps(fields(tmp_path) | changed).encode(), where="here")

    assert str(refused.value) == (
        "here: thresholds.0 and 1 more: Input should be less than or equal to 1; "
        "thresholds.2: Input should be greater than or equal to 0; "
        "max_length: Input should be greater than or equal to 1"
    )


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut"),
        pytest.param(b"\xff\xfe", id="not-text"),
        pytest.param(b"[]", id="list"),
    ],
)
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(ArtifactRejected, match="here"):
        parse_manifest(content, where="here")


def test_bins_need_one_share_more_than_edges(tmp_path: Path) -> None:
    changed = fields(tmp_path)
    changed["reference"]["token_length_shares"] = [1.0]

    with pytest.raises(ValidationError, match="one entry per edge, and one more for longer texts"):
        Manifest.model_validate_json(json.dumps(changed))


def test_a_manifest_from_before_its_cost_was_measured_is_read(tmp_path: Path) -> None:
    older = fields(tmp_path)
    for name in ("gpu_seconds", "settings_sha256"):
        del older["training"][name]
    older["training"]["candidates"] = [
        {
            "architecture": "linear",
            "precision": "int8",
            "validation_micro_f1": 0.9,
            "milliseconds_per_text": 0.1,
            "seconds": 3.0,
            "chosen": True,
        }
    ]

    training = parse_manifest(json.dumps(older).encode(), where="here").training

    assert (training.gpu_seconds, training.settings_sha256) == (0, None)
    (candidate,) = training.candidates
    assert (candidate.cpu_seconds, candidate.gpu_seconds, candidate.peak_memory_bytes) == (0, 0, 0)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"gpu_seconds": -1}, id="gpu-seconds-below-0"),
        pytest.param({"settings_sha256": "abc"}, id="no-checksum-of-settings"),
    ],
)
def test_a_cost_or_a_checksum_that_cannot_be_is_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    wrong = fields(tmp_path)
    wrong["training"] |= changed

    with pytest.raises(ArtifactRejected, match=f"training.{next(iter(changed))}"):
        parse_manifest(json.dumps(wrong).encode(), where="here")


def nested(depth: int) -> bytes:
    return b'{"labels": ' + b"[" * depth + b"]" * depth + b"}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(nested(100_000), "is not JSON: recursion limit exceeded", id="deep"),
        pytest.param(b'{"schema_version": ' + b"9" * 4000 + b"}", "schema_version", id="a-long-number"),
        pytest.param(json.dumps({"x\x1b[2J\n" * 500: 1}).encode(), r"x\x1b[2J\n", id="a-long-key-with-escape-sequences"),
        pytest.param(json.dumps({f"k{at}": 1 for at in range(5000)}).encode(), "and 49", id="thousands-of-keys"),
    ],
)
def test_what_is_made_to_break_a_reader_is_refused_in_one_short_line(content: bytes, said: str) -> None:
    with pytest.raises(ArtifactRejected) as refused:
        parse_manifest(content, where="here")

    assert said in str(refused.value)
    assert_is_fit_for_a_log(str(refused.value))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("model\x00.onnx", id="nul"),
        pytest.param("model\n.onnx", id="line-break"),
        pytest.param("\x1b[31mmodel", id="escape-sequence"),
        pytest.param("..", id="the-folder-above"),
        pytest.param("a/b", id="a-path"),
        pytest.param("a\\b", id="a-path-of-windows"),
        pytest.param(".part-x", id="hidden"),
        pytest.param("-rf", id="an-option"),
        pytest.param("Manifest.JSON", id="the-manifest-itself"),
        pytest.param("", id="empty"),
        pytest.param("x" * 5000, id="long"),
    ],
)
@pytest.mark.parametrize("where", ["its-name", "where-it-is-stored"])
def test_a_file_name_that_is_not_plain_is_refused(tmp_path: Path, name: str, where: str) -> None:
    entry = {"sha256": "0" * 64, "size": 1}
    changed = {"files": {name: entry} if where == "its-name" else {"model.onnx": entry | {"stored_as": name}}}

    with pytest.raises(ArtifactRejected, match=r"files|stored_as") as refused:
        parse_manifest(json.dumps(fields(tmp_path) | changed).encode(), where="here")

    assert_is_fit_for_a_log(str(refused.value))


def test_a_manifest_does_not_say_where_files_are_stored_that_lie_under_their_own_names(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")

    assert b"stored_as" not in to_json(make_manifest(tmp_path))


def assert_is_fit_for_a_log(message: str) -> None:
    assert message.isprintable()
    assert len(message) < 6000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.binary(max_size=400) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_other_content_of_a_manifest_is_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(ArtifactRejected) as refused:
        parse_manifest(content, where="here")

    assert_is_fit_for_a_log(str(refused.value))


GOOD = json.loads(to_json(make_manifest(Path("nowhere"))))
PATHS = [
    (key, *inner) for key, value in GOOD.items() for inner in ([(each,) for each in value] if isinstance(value, dict) else [()])
]


@given(st.sampled_from(PATHS), JSON)
def test_a_manifest_with_any_value_in_any_field_is_read_or_refused_in_one_line(path: tuple[str, ...], value: object) -> None:
    changed = copy.deepcopy(GOOD)
    *outer, last = path
    within = changed
    for each in outer:
        within = within[each]
    within[last] = value
    try:
        read = parse_manifest(json.dumps(changed).encode(), where="here")
    except ArtifactRejected as refused:
        assert_is_fit_for_a_log(str(refused))
    else:
        assert parse_manifest(to_json(read), where="here") == read
