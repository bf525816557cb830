from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from scipy.sparse import csr_matrix

from model.manifest import (
    AllScores,
    ArchitectureName,
    BaselineScores,
    Candidate,
    Dataset,
    LearntCorrections,
    Manifest,
    Precision,
    Reference,
    Task,
    Training,
)
from model.scores import Scores
from trainer.evaluation.scoring import score
from trainer.report import plots
from trainer.report.page import Part, write_report

Case = Callable[[], tuple[Manifest, Part]]
DASH = "\N{EN DASH}"
VOID = {"meta", "br", "input"}
HOSTILE = (
    "<script>alert(1)</script>",
    '" onload="x" & co',
    "$x_1$ and $",
    "_underlined",
    "機械学習",
    "עברית",
    ' id="x" #1b2733',
    "🚀 with\nbreak\x07",
    "a name that goes on and on, far beyond what fits beside a bar of any plot " * 3,
)


class Page(HTMLParser):
    """What a test wants to know of a page; fails where elements are not closed in the order they were opened."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            return
        self.texts.append(data)
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def row(self, label: str) -> list[str]:
        return next(row for row in self.rows if row[0] == label)


def part(labels: int, texts: int, *, task: Task = Task.MULTI_LABEL, seed: int = 0) -> Part:
    """Texts whose labels are mostly found, the later ones less frequent."""
    random = np.random.default_rng(seed)
    truth = np.zeros((texts, labels), np.bool_)
    weights = 1 / np.arange(2, labels + 2)
    for _ in range(1 if task is Task.SINGLE_LABEL else 2):
        truth[np.arange(texts), random.choice(labels, texts, p=weights / weights.sum())] = True
    logits = 3.0 * truth + random.normal(size=(texts, labels)) - 1.5
    odds = np.exp(logits)
    probabilities = odds / odds.sum(axis=1, keepdims=True) if task is Task.SINGLE_LABEL else odds / (1 + odds)
    predicted = np.eye(labels, dtype=np.bool_)[logits.argmax(axis=1)] if task is Task.SINGLE_LABEL else probabilities > 0.5
    lengths = random.integers(5, 129, texts)
    return Part(csr_matrix(truth.astype(np.uint8)), probabilities.astype(np.float32), predicted, lengths)


def scores_of(test: Part, labels: tuple[str, ...]) -> Scores:
    predicted = csr_matrix(test.predicted).toarray().astype(np.bool_)
    return score(test.probabilities, predicted, test.targets, labels)


def manifest_of(test: Part, labels: tuple[str, ...] | None = None, **changes: Any) -> Manifest:
    width = test.probabilities.shape[1]
    labels = labels or tuple(f"label-{at:03d}" for at in range(width))
    scores = scores_of(test, labels)
    worse = scores.model_copy(update={"micro_f1": scores.micro_f1 * 0.5})
    whole = Manifest(
        schema_version=1,
        classifier="tickets",
        version="20250314-091500",
        created_at=datetime(2025, 3, 14, 9, 15, tzinfo=UTC),
        task=Task.MULTI_LABEL,
        labels=labels,
        thresholds=(0.5,) * width,
        max_length=128,
        precision=Precision.INT8,
        files={},
        dataset=Dataset(uri="s3://bucket/tickets/", sha256="ab" * 32, rows=12345, columns=("title", "text")),
        training=Training(
            architecture=ArchitectureName.TRANSFORMER,
            base_model="encoder-of-choice",
            seed=77,
            epochs=3,
            balance="none",
            code_version="0.1.0+abcdef",
            seconds=5025,
            cpu_seconds=38211,
            peak_memory_bytes=3 * 2**30,
            examples={"train": 8000, "validation": 1000, "test": 1000},
            candidates=(
                Candidate(
                    architecture=ArchitectureName.LINEAR,
                    precision=Precision.FP32,
                    validation_micro_f1=0.5,
                    milliseconds_per_text=0.21,
                    seconds=44,
                    chosen=False,
                ),
            ),
        ),
        scores=AllScores(
            validation=scores,
            test=scores,
            baseline=BaselineScores(architecture=ArchitectureName.LINEAR, validation=worse, test=worse),
            milliseconds_per_text=6.44,
        ),
        reference=Reference(
            label_rates=(0.0,) * width, token_length_edges=(64,), token_length_shares=(0.5, 0.5), unknown_token_rate=0.0
        ),
    )
    return whole.model_copy(update=changes)


def written(to: Path, manifest: Manifest, test: Part, notes: tuple[str, ...] = ()) -> str:
    train_counts = 8 * np.asarray(test.targets.sum(axis=0, dtype=np.int64)).ravel()
    write_report(to / "report.html", manifest, test, train_counts, notes)
    return (to / "report.html").read_text(encoding="utf-8")


def multi_label() -> tuple[Manifest, Part]:
    test = part(40, 300)
    return manifest_of(test), test


def single_label() -> tuple[Manifest, Part]:
    test = part(6, 300, task=Task.SINGLE_LABEL)
    return manifest_of(test, task=Task.SINGLE_LABEL, thresholds=(0.0,) * 6), test


def two_labels_one_text() -> tuple[Manifest, Part]:
    test = part(2, 1)
    return manifest_of(test), test


def hostile_names() -> tuple[Manifest, Part]:
    test = part(len(HOSTILE), 200)
    return manifest_of(test, HOSTILE), test


def nothing_due_and_nothing_given() -> tuple[Manifest, Part]:
    test = replace(part(4, 50), targets=csr_matrix(np.zeros((50, 4), np.uint8)), predicted=np.zeros((50, 4), np.bool_))
    return manifest_of(test), test


def nothing_wrong() -> tuple[Manifest, Part]:
    test = part(5, 100)
    test = replace(test, predicted=test.targets.astype(np.bool_), probabilities=test.targets.toarray().astype(np.float32))
    return manifest_of(test), test


def texts_longer_than_the_limit() -> tuple[Manifest, Part]:
    test = part(5, 100)
    test = replace(test, token_lengths=test.token_lengths * 100)
    return manifest_of(test), test


CASES: list[Case] = [
    multi_label,
    single_label,
    two_labels_one_text,
    hostile_names,
    nothing_due_and_nothing_given,
    nothing_wrong,
    texts_longer_than_the_limit,
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(written(tmp_path_factory.mktemp("page"), *multi_label()))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.replace("_", "-"))
def test_the_page_is_whole_and_fetches_nothing(case: Case, tmp_path: Path) -> None:
    html = written(tmp_path, *case())
    page = Page(html)

    references = {value for name, value in page.attributes if name in ("src", "href", "xlink:href", "action", "srcset")}
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in references)
    assert page.elements.count("script") == 1
    assert not {"link", "iframe", "object", "embed", "base"} & set(page.elements)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "@import" not in html
    assert "url(http" not in html


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.replace("_", "-"))
def test_the_page_allows_its_own_script_by_its_hash_and_no_other(case: Case, tmp_path: Path) -> None:
    html = written(tmp_path, *case())
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    policy = dict(each.strip().split(" ", 1) for each in content_security_policy(html).split(";"))

    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.pop("script-src") == f"'sha256-{digest}'"
    assert policy == {
        "default-src": "'none'", "style-src": "'unsafe-inline'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'"
    }  # fmt: skip


def content_security_policy(html: str) -> str:
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', html)
    return str(policy)


def test_what_a_plot_refers_to_is_in_the_page_once(page: Page) -> None:
    ids = [value for name, value in page.attributes if name == "id"]
    wanted = {value[1:] for name, value in page.attributes if name == "xlink:href" and value.startswith("#")}
    wanted |= {value[5:-1] for name, value in page.attributes if name == "clip-path"}
    assert len(ids) == len(set(ids))
    assert wanted <= set(ids)


def test_names_of_labels_are_shown_and_never_obeyed(tmp_path: Path) -> None:
    page = Page(written(tmp_path, *hostile_names(), notes=("rows of <b>'x'</b> were set aside",)))
    shown = [row[0] for row in page.rows]
    assert set(HOSTILE) <= set(shown)
    assert "rows of <b>'x'</b> were set aside" in page.text
    assert "$x_1$ and $" in [text.strip() for text in page.texts]  # beside a bar, not read as a formula


@pytest.mark.parametrize("case", CASES[:2], ids=lambda case: case.__name__.replace("_", "-"))
def test_the_same_input_gives_the_same_bytes(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = written(tmp_path, *case())
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 30.0)  # as a matplotlibrc on another machine might
    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "red")
    assert written(tmp_path, *case()) == first
    assert matplotlib.rcParams["font.size"] == 30.0


def baseline(
    test: Part, manifest: Manifest, *, micro_f1: float, architecture: ArchitectureName = ArchitectureName.LINEAR
) -> AllScores:
    scores = manifest.scores.test.model_copy(update={"micro_f1": micro_f1})
    baseline = BaselineScores(architecture=architecture, validation=scores, test=scores)
    return manifest.scores.model_copy(update={"baseline": baseline})


@pytest.mark.parametrize(
    ("gain", "architecture", "verdict"),
    [
        pytest.param(0.3, "linear", "Better than the baseline (linear) by 0.300 micro-F1", id="better"),
        pytest.param(-0.2, "linear", "Worse than the baseline (linear) by 0.200 micro-F1", id="worse"),
        pytest.param(0.001, "linear", "About as good as the baseline (linear)", id="within-chance"),
        pytest.param(0.0, "transformer", "This is the baseline itself (transformer)", id="the-baseline-was-published"),
    ],
)
def test_the_verdict_compares_with_the_baseline(gain: float, architecture: str, verdict: str, tmp_path: Path) -> None:
    manifest, test = texts_longer_than_the_limit()
    scores = baseline(test, manifest, micro_f1=manifest.scores.test.micro_f1 - gain, architecture=ArchitectureName(architecture))
    page = Page(written(tmp_path, manifest.model_copy(update={"scores": scores}), test))
    assert verdict in page.text
    assert ("Gain" in page.text) is (architecture == "linear")  # nothing is compared with itself


def test_the_page_says_where_the_version_comes_from(page: Page) -> None:
    for told in (
        "tickets version 20250314-091500",
        "6.44 ms",
        "s3://bucket/tickets/",
        "ab" * 32,
        "12,345, columns title, text",
        "seed 77",
        "0.1.0+abcdef",
        "1 h 23 min, 38,211 CPU-seconds, at most 3 GiB of memory",
        "encoder-of-choice",
    ):
        assert told in page.text
    assert page.row("linear") == ["linear", "fp32", "0.500", "0.21", "44 s", DASH, ""]  # an older manifest's


def test_a_models_cost_is_shown_beside_its_score(tmp_path: Path) -> None:
    manifest, test = two_labels_one_text()
    (linear,) = manifest.training.candidates
    cost = {"cpu_seconds": 80.0, "gpu_seconds": 0.0, "peak_memory_bytes": 2**30}
    others = {"architecture": ArchitectureName.TRANSFORMER, "chosen": True, "gpu_seconds": 512.0, "cpu_seconds": 9400.0}
    tried = (linear.model_copy(update=cost), linear.model_copy(update=cost | others))
    training = manifest.training.model_copy(update={"candidates": tried, "gpu_seconds": 512.0})

    page = Page(written(tmp_path, manifest.model_copy(update={"training": training}), test))

    assert page.row("linear") == ["linear", "fp32", "0.500", "0.21", "44 s", "80", DASH, ""]
    assert page.row("transformer") == ["transformer", "fp32", "0.500", "0.21", "44 s", "9,400", "512", "published"]
    assert "38,211 CPU-seconds, 512 GPU-seconds, at most 3 GiB" in page.text
    assert page.texts.count("transformer: micro-F1 0.500, 9,400 CPU-seconds, 512 GPU-seconds, 0.21 ms per text") == 2


def test_a_manifest_without_candidates_has_no_trade_off(tmp_path: Path) -> None:
    manifest, test = two_labels_one_text()
    training = manifest.training.model_copy(update={"candidates": ()})

    page = Page(written(tmp_path, manifest.model_copy(update={"training": training}), test))

    assert "Score against cost" not in page.text


def test_notes_about_the_data_are_shown_where_there_are_any(page: Page, tmp_path: Path) -> None:
    noted = Page(written(tmp_path, *two_labels_one_text(), notes=("24 rows had no label.", "2 texts were equal.")))
    assert "About the data 24 rows had no label. 2 texts were equal." in noted.text
    assert "About the data" not in page.text


def test_the_served_versions_score_is_shown_where_there_is_one(tmp_path: Path) -> None:
    manifest, test = multi_label()
    sentence = "micro-f1 0.612, the served version arxiv-1: 0.598 on the same 1,204 texts"
    write_report(tmp_path / "report.html", manifest, test, np.ones(40, np.int64), (), comparison=sentence)
    assert f"<p>{sentence}.</p>" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "the served version" not in written(tmp_path, manifest, test)


def test_a_dash_is_shown_instead_of_a_division_by_zero(tmp_path: Path) -> None:
    targets = np.zeros((20, 4), np.uint8)
    predicted = np.zeros((20, 4), np.bool_)
    targets[:10, 0] = targets[:5, 1] = 1
    predicted[:10, 0] = predicted[:2, 2] = True
    test = replace(part(4, 20), targets=csr_matrix(targets), predicted=predicted)

    page = Page(written(tmp_path, manifest_of(test, ("found", "never given", "never due", "neither")), test))

    assert page.row("found")[:7] == ["found", "80", "10", "10", "1.000", "1.000", "1.000"]
    assert page.row("never given")[:7] == ["never given", "40", "5", "0", DASH, "0.000", "0.000"]
    assert page.row("never due")[:7] == ["never due", "0", "0", "2", "0.000", DASH, DASH]
    assert page.row("neither")[:7] == ["neither", "0", "0", "0", DASH, DASH, DASH]


def test_a_single_label_report_speaks_of_one_label_and_no_thresholds(tmp_path: Path) -> None:
    page = Page(written(tmp_path, *single_label()))
    assert "Predicts one of 6 labels" in page.text
    assert "The share of texts with the correct label." in page.text
    assert "Threshold" not in page.text


def test_points_tell_their_labels(page: Page) -> None:
    manifest, _ = multi_label()
    label = manifest.labels[0]
    scores = manifest.scores.test.per_label[label]
    assert f"{label}: F1 {scores.f1:.3f}, {scores.support} texts" in page.texts


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(replace(part(4, 20), token_lengths=np.ones(19, np.int64)), id="a-length-too-few"),
        pytest.param(replace(part(4, 20), predicted=np.zeros((20, 3), np.bool_)), id="a-label-too-few"),
        pytest.param(part(4, 0), id="no-texts"),
    ],
)
def test_a_part_that_does_not_fit_is_refused(broken: Part, tmp_path: Path) -> None:
    manifest = manifest_of(part(4, 20))
    with pytest.raises(ValueError, match="shape"):
        write_report(tmp_path / "report.html", manifest, broken, np.ones(4, np.int64), ())


def test_more_points_than_anyone_hovers_over_become_one_image() -> None:
    texts = np.arange(1, plots.TOOLTIPS + 2)
    drawn = [plots.f1_by_support([f"label-{at}" for at in texts], texts, texts / len(texts), None) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert "data:image/png;base64," in drawn[0]
    assert "<title>" not in drawn[0]


def test_a_large_test_part_gives_a_page_that_still_travels(tmp_path: Path) -> None:
    test = part(149, 15_000)
    assert len(written(tmp_path, manifest_of(test), test).encode()) < 500_000


def test_the_page_says_what_came_from_corrections(tmp_path: Path) -> None:
    manifest, test = multi_label()
    learnt = LearntCorrections(
        uri="s3://feedback/tickets/", sha256="7e" * 32, dataset_sha256="ab" * 32, files=3, rows=2_000, withdrawn=1,
        texts=1_700, corrected=1_000, tested=90, added=600, left_out=100,
    )  # fmt: skip
    dataset = manifest.dataset.model_copy(update={"corrections": learnt, "sha256": "cd" * 32})

    page = Page(written(tmp_path, manifest.model_copy(update={"dataset": dataset}), test)).text

    assert (
        "Corrections s3://feedback/tickets/: 1,700 texts, of which 1,000 of the dataset corrected (90 in the test part), "
        f"600 added, 100 left out SHA-256 of their content {'7e' * 32} SHA-256 of both {'cd' * 32}"
    ) in page
    assert f"SHA-256 of its content {'ab' * 32}" in page
