"""Corrections as clients send them: of kept predictions, with feedback tokens, of texts, until they are stored and learnt."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from gateway.feedback.keys import CORRECTION
from gateway.feedback.tokens import feedback_token
from gateway.records.keys import TASK
from model.artifact import verify
from model.corrections import Correction, Source, in_force, read_corrections_file
from model.storage import open_store
from tests.support.commands import labelwright
from tests.support.gateway import SECRET, GatewayProcess, answer, config, running, submit, write_tokens
from tests.support.redis import RedisProcess, redis_server
from tests.support.servers import RunningServer

TOKENS = {
    "importer": ({"scopes": ["predict"]}, "token-of-the-importer"),
    "desk": ({"scopes": ["feedback"]}, "token-of-the-help-desk"),
    "other": ({"scopes": ["feedback"]}, "token-of-another"),
    "root": ({"scopes": ["admin"]}, "token-of-an-admin"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("feedback")


@pytest.fixture(scope="module")
def redis(folder: Path) -> Iterator[RedisProcess]:
    with redis_server(folder / "redis") as server:
        yield server


@pytest.fixture(scope="module")
def api(folder: Path, redis: RedisProcess, papers_predictor: RunningServer) -> Iterator[GatewayProcess]:
    settings = config(
        folder, redis.address, papers_predictor.rest,
        tokens_file=write_tokens(folder, TOKENS), anonymous=False,
        feedback_uri=str(folder / "storage"), flush_seconds=0.5, max_characters=1000,
    )  # fmt: skip
    with running("worker", settings, folder / "worker.log"), running("api", settings, folder / "api.log") as api:
        yield api


@pytest.fixture
def http(api: GatewayProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api.address, timeout=40) as client:
        yield client


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[name][1]}"}


def predicted(http: httpx.Client, text: str | list[str]) -> dict[str, Any]:
    """Submit as the importer, and return the answer."""
    http.headers.update(bearer("importer"))
    found = answer(http, submit(http, text))
    del http.headers["Authorization"]
    return found


def correct(http: httpx.Client, address: str, name: str = "desk", **body: Any) -> dict[str, Any]:
    response = http.post(f"/api/feedback/{address}", json=body, headers=bearer(name))
    assert response.status_code == 202, response.text
    found: dict[str, Any] = response.json()
    assert response.headers["Location"] == f"/api/feedback/{found['correction_id']}"
    return found


def in_state(http: httpx.Client, correction_id: str, state: str, name: str = "desk") -> dict[str, Any]:
    """Wait until the correction has this state, and return it."""
    deadline = time.monotonic() + 60
    while True:
        found: dict[str, Any] = http.get(f"/api/feedback/{correction_id}", headers=bearer(name)).json()
        if found["state"] == state:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def rows_at(folder: Path, key: str) -> tuple[Correction, ...]:
    return read_corrections_file(key, (folder / "storage" / key).read_bytes())


def row_of(folder: Path, found: dict[str, Any]) -> Correction:
    (row,) = [each for each in rows_at(folder, found["key"]) if each.id == found["correction_id"]]
    return row


def problem(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["Content-Type"] == "application/problem+json", response.text
    return response.status_code, response.json()["type"].removeprefix("urn:labelwright:problem:")


# --- accepting --------------------------------------------------------------------------------------------------------


def test_a_correction_of_a_prediction_is_stored_with_what_was_predicted(http: httpx.Client, folder: Path) -> None:
    prediction = predicted(http, "On cs.LG and much else")
    held = correct(http, prediction["task_id"], labels=["stat.ML", "cs.LG"], comment="see the abstract")
    assert held["state"] in ("held", "stored")
    stored = in_state(http, held["correction_id"], "stored")

    row = row_of(folder, stored)
    assert (row.text, row.labels, row.comment) == ("On cs.LG and much else", ("cs.LG", "stat.ML"), "see the abstract")
    assert (row.predicted, row.scores, row.thresholds) == (("cs.LG",), {"cs.LG": prediction["scores"][0]}, {"cs.LG": 0.5})
    assert (row.prediction_id, row.version, row.author) == (prediction["task_id"], "v1", "desk")
    assert (row.source, row.predictions_shown, row.withdrawn) == (Source.PROGRAM, True, False)
    assert row.time.isoformat().replace("+00:00", "Z")[:23] == stored["created_at"][:23]
    assert stored["key"].startswith(f"feedback/papers/{row.time:%Y/%m/%d}/")


def test_the_holder_of_an_answers_feedback_token_corrects_that_prediction_and_no_other(http: httpx.Client, folder: Path) -> None:
    prediction, other = predicted(http, "On cs.LG, for a reader"), predicted(http, "On cs.LG, for another")
    holder = {"Feedback-Token": prediction["feedback_token"]}
    response = http.post(f"/api/feedback/{prediction['task_id']}", json={"labels": ["math.CO"]}, headers=holder)
    assert response.status_code == 202
    address = response.headers["Location"]

    assert http.get(address, headers=holder).json()["labels"] == ["math.CO"]
    refused = http.post(f"/api/feedback/{other['task_id']}", json={"labels": ["math.CO"]}, headers=holder)
    assert problem(refused) == (401, "unauthorized")
    assert problem(http.get(address, headers={"Feedback-Token": other["feedback_token"]})) == (401, "unauthorized")
    assert problem(http.get(address)) == (401, "unauthorized")
    row = row_of(folder, in_state(http, address.rpartition("/")[2], "stored", "root"))
    assert (row.author, row.source) == ("feedback token", Source.VOLUNTEER)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(lambda task_id: feedback_token(SECRET, task_id, expires=1_000_000_000), id="expired"),
        pytest.param(lambda task_id: feedback_token(b"another secret, for tests", task_id, expires=2**40), id="forged"),
        pytest.param(lambda task_id: "ffffffffff", id="without-signature"),
    ],
)
def test_a_feedback_token_that_is_expired_or_forged_is_refused(http: httpx.Client, token: Any) -> None:
    task_id = predicted(http, "On cs.LG")["task_id"]
    response = http.post(f"/api/feedback/{task_id}", json={"labels": ["cs.LG"]}, headers={"Feedback-Token": token(task_id)})
    assert problem(response) == (401, "unauthorized")


def test_one_text_of_several_is_corrected_by_its_position(http: httpx.Client, folder: Path) -> None:
    task_id = predicted(http, ["first cs.LG", "second stat.ML"])["task_id"]
    held = correct(http, task_id, labels=["math.CO"], position=1)
    assert row_of(folder, in_state(http, held["correction_id"], "stored")).text == "second stat.ML"

    for body, sentence in (({}, "position is missing: expected 0 to 1"), ({"position": 2}, "position is 2: expected at most 1")):
        response = http.post(f"/api/feedback/{task_id}", json={"labels": ["cs.LG"], **body}, headers=bearer("desk"))
        assert problem(response) == (422, "invalid-request")
        assert sentence in response.json()["detail"]


def test_a_text_that_a_predictor_labelled_directly_is_corrected(http: httpx.Client, folder: Path) -> None:
    held = correct(
        http, "", text="asked directly", labels=["stat.ML"], version="v1", predicted=["cs.LG"], predictions_shown=False
    )
    row = row_of(folder, in_state(http, held["correction_id"], "stored"))
    assert (row.text, row.labels, row.version, row.predicted) == ("asked directly", ("stat.ML",), "v1", ("cs.LG",))
    assert (row.prediction_id, row.predictions_shown) == (None, False)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param({"labels": ["cs.LQ"]}, (422, "labels-refused"), id="unknown-label"),
        pytest.param({"labels": []}, (422, "labels-refused"), id="no-label"),
        pytest.param({"labels": [" "]}, (422, "invalid-request"), id="blank-label"),
        pytest.param({"labels": ["cs.LG"], "classifier": "products"}, (422, "unknown-classifier"), id="classifier"),
        pytest.param({"labels": ["cs.LG"], "text": " "}, (422, "invalid-request"), id="blank-text"),
        pytest.param({"labels": ["cs.LG"], "text": "x" * 1001}, (413, "text-too-long"), id="long-text"),
        pytest.param({"labels": ["cs.LG"], "source": "audit"}, (422, "invalid-request"), id="unknown-field"),
    ],
)
def test_a_correction_that_no_training_could_use_is_refused(
    http: httpx.Client, body: dict[str, Any], expected: tuple[int, str]
) -> None:
    response = http.post("/api/feedback/", json={"text": "a text"} | body, headers=bearer("desk"))
    assert problem(response) == expected
    if body["labels"] == ["cs.LQ"]:
        assert response.json()["detail"] == (
            'labels has "cs.LQ": expected labels of the classifier, such as cs.LG, math.CO, stat.ML.'
        )


def test_only_the_scope_feedback_corrects_and_only_the_author_reads(http: httpx.Client) -> None:
    task_id = predicted(http, "On cs.LG, by scope")["task_id"]
    assert problem(http.post(f"/api/feedback/{task_id}", json={"labels": ["cs.LG"]}, headers=bearer("importer"))) == (
        403, "scope-missing",
    )  # fmt: skip
    address = f"/api/feedback/{correct(http, task_id, labels=['cs.LG'])['correction_id']}"
    assert problem(http.get(address, headers=bearer("other"))) == (404, "unknown-id")
    assert problem(http.delete(address, headers=bearer("other"))) == (404, "unknown-id")
    assert http.get(address, headers=bearer("root")).status_code == 200
    assert problem(http.get(f"/api/feedback/{task_id}", headers=bearer("root"))) == (404, "unknown-id")


def test_an_erased_prediction_cannot_be_corrected_any_more(http: httpx.Client) -> None:
    task_id = predicted(http, "On cs.LG, erased")["task_id"]
    http.delete(f"/api/prediction/{task_id}", headers=bearer("importer"))
    assert problem(http.post(f"/api/feedback/{task_id}", json={"labels": ["cs.LG"]}, headers=bearer("desk"))) == (410, "gone")


def test_a_repeated_request_makes_no_second_correction_and_a_change_of_mind_does(http: httpx.Client) -> None:
    task_id = predicted(http, "On cs.LG, again")["task_id"]
    first = correct(http, task_id, labels=["cs.LG", "stat.ML"])
    assert correct(http, task_id, labels=["stat.ML", "cs.LG"])["correction_id"] == first["correction_id"]
    second = correct(http, task_id, labels=["math.CO"])
    third = correct(http, task_id, labels=["cs.LG", "stat.ML"])
    of_another = correct(http, task_id, "other", labels=["cs.LG", "stat.ML"])
    ids = [each["correction_id"] for each in (first, second, third, of_another)]
    assert len(set(ids)) == 4
    assert ids == sorted(ids)


def test_a_task_without_an_answer_cannot_be_corrected(http: httpx.Client, redis: RedisProcess) -> None:
    task_id = predicted(http, "On cs.LG, not answered")["task_id"]
    redis.client.hset(TASK + task_id, "state", "pending")
    response = http.post(f"/api/feedback/{task_id}", json={"labels": ["cs.LG"]}, headers=bearer("desk"))
    assert problem(response) == (409, "no-answer")
    assert response.json()["detail"] == "The task is pending: expected one with an answer."


def test_a_correction_whose_time_is_over_is_gone(http: httpx.Client, redis: RedisProcess) -> None:
    found = correct(http, "", text="kept no longer", labels=["cs.LG"])
    in_state(http, found["correction_id"], "stored")
    redis.client.delete(CORRECTION + found["correction_id"])
    address = f"/api/feedback/{found['correction_id']}"
    assert problem(http.get(address, headers=bearer("desk"))) == (410, "gone")
    assert problem(http.delete(address, headers=bearer("desk"))) == (410, "gone")


# --- withdrawing ------------------------------------------------------------------------------------------------------


def test_a_stored_correction_is_withdrawn_by_a_second_row(http: httpx.Client, folder: Path) -> None:
    task_id = predicted(http, "On cs.LG, withdrawn")["task_id"]
    held = correct(http, task_id, labels=["math.CO"])
    in_state(http, held["correction_id"], "stored")
    assert http.delete(f"/api/feedback/{held['correction_id']}", headers=bearer("desk")).json()["state"] == "withdrawing"
    withdrawn = in_state(http, held["correction_id"], "withdrawn")
    repeated = http.delete(f"/api/feedback/{held['correction_id']}", headers=bearer("desk"))

    assert repeated.json() == withdrawn
    rows = [each for key in (withdrawn["key"], withdrawn["withdrawal_key"]) for each in rows_at(folder, key)]
    of_it = [each for each in rows if each.id == held["correction_id"]]
    assert [each.withdrawn for each in of_it] == [False, True]
    assert in_force(of_it) == ()
    assert correct(http, task_id, labels=["math.CO"])["correction_id"] != held["correction_id"]


# --- learning ---------------------------------------------------------------------------------------------------------


def test_a_training_learns_what_was_sent(http: httpx.Client, folder: Path, tmp_path: Path) -> None:
    """From POST to a version; the classifier of the dataset is the one that was corrected."""
    words = {"cs.LG": "gradient", "stat.ML": "variance", "math.CO": "graph"}
    rows = [(f"{word} of number {at}", label) for label, word in words.items() for at in range(40)]
    pl.DataFrame(rows, schema=["text", "label"], orient="row").write_parquet(tmp_path / "data.parquet")
    in_state(http, correct(http, "", text="the last one of other tests", labels=["cs.LG"])["correction_id"], "stored")
    before = {each.key for each in open_store(str(folder / "storage")).list()}
    ids = [correct(http, "", text=f"variance of number {at}", labels=["math.CO"])["correction_id"] for at in range(5)]
    ids += [correct(http, "", text=f"lattice {at}", labels=["math.CO"])["correction_id"] for at in range(3)]
    last = correct(http, "", text="variance of number 9", labels=["cs.LG"])["correction_id"]
    for each in [*ids, last]:
        in_state(http, each, "stored")
    http.delete(f"/api/feedback/{last}", headers=bearer("desk"))
    in_state(http, last, "withdrawn")
    learnt = tmp_path / "corrections"
    for each in open_store(str(folder / "storage")).list():
        if each.key not in before:
            (learnt / each.key).parent.mkdir(parents=True, exist_ok=True)
            (learnt / each.key).write_bytes((folder / "storage" / each.key).read_bytes())
    done = labelwright(
        "train", "--dataset", str(tmp_path / "data.parquet"), "--text-columns", "text", "--label-column", "label",
        "--output-dir", str(tmp_path / "models"), "--name", "papers", "--set", "version=v2",
        "--set", f"dataset.corrections={learnt / 'feedback/papers'}", "--set", "split.near_duplicates=1",
    )  # fmt: skip

    found = verify(tmp_path / "models/papers/v2").dataset.corrections
    assert found is not None
    assert (found.rows, found.texts, found.corrected, found.added, found.withdrawn) == (10, 8, 5, 3, 1)
    assert "corrections: 10 rows in" in done.stderr
    assert "for 8 texts: 5 of the dataset corrected, 3 added, 0 left out, 1 correction withdrawn" in done.stderr
