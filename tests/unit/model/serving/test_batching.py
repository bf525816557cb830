"""Micro-batcher: which texts are computed together, which requests wait, and the results of each."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from model.artifact import read_manifest
from model.classifier import Classifier, Floats, OnnxModel, Prediction, TextTokenizer, TokenizedText
from model.serving.batching import EXPLORE_EVERY_TEXTS, LONG_TEXT_CHARACTERS, Batcher, _LoneTextStrategy
from model.serving.errors import QueueFull
from model.serving.metrics import Metrics
from tests.support.versions import LABELS, make_version

PATIENCE = 30.0  # seconds until a test that hangs fails; nothing waits for it to pass
PLUG = "plug"  # keeps a thread busy
POISON = "poison"  # cannot be computed


class Panic(BaseException):
    """Error of a library in Rust, which is no Exception."""


class Bytes(TextTokenizer):
    """A token for each byte, so that the graph sees which texts it gets."""

    max_length = 10_000

    def __init__(self) -> None:
        """Nothing to load."""

    def encode(self, texts: Sequence[str]) -> list[TokenizedText]:
        return [TokenizedText(list(text.encode()), truncated=False) for text in texts]


class Held(OnnxModel):
    """Computes a batch when it is let, and keeps which texts came together. A text's first logit tells its length."""

    def __init__(self, *, harm: BaseException | None = None) -> None:
        self.label_count = len(LABELS)
        self.now = 0.0  # a clock that goes on by `seconds` with each text
        self.seconds = 0.0
        self.batches: list[list[str]] = []
        self.alone: list[bool] = []
        self._harm = harm
        self._began: Queue[list[str]] = Queue()
        self._let = threading.Event()

    def logits(self, tokens: Sequence[TokenizedText], *, alone: bool = False) -> Floats:
        texts = [bytes(each.ids).decode() for each in tokens]
        self.batches.append(texts)
        self.alone.append(alone)
        self._began.put(texts)
        assert self._let.wait(PATIENCE)
        self.now += self.seconds * len(tokens)
        if self._harm and POISON in texts:
            raise self._harm
        return np.array([[len(text) / 100, 0, 0] for text in texts], np.float32)

    def next(self) -> list[str]:
        """The next batch, once it has come."""
        return self._began.get(timeout=PATIENCE)

    async def began(self) -> list[str]:
        """Wait for the start of a computation, without blocking the event loop."""
        return await asyncio.to_thread(self.next)

    def let(self) -> None:
        """Compute what came and whatever comes."""
        self._let.set()

    def hold(self) -> None:
        """Compute nothing more."""
        self._let.clear()


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_version(tmp_path_factory.mktemp("version"))


@pytest.fixture(scope="module")
def tiny(version: Path) -> Classifier:
    return Classifier.load(version)


@pytest.fixture(scope="module")
def batchers(version: Path, tiny: Classifier) -> Iterator[list[Batcher]]:
    """Batchers with one thread, two and five."""
    metrics = Metrics(read_manifest(version), CollectorRegistry())
    batchers = [Batcher(tiny, metrics, threads=threads, capacity=1000) for threads in (1, 2, 5)]
    yield batchers
    for each in batchers:
        each.close()


Start = Callable[..., Any]


@pytest.fixture
def start(version: Path, tiny: Classifier) -> Iterator[Start]:
    """Starts a batcher of a graph; at the end the graph is let and the batcher closed."""
    started: list[tuple[Held, Batcher]] = []

    def start(graph: Held, *, threads: int = 1, capacity: int = 1000) -> Batcher:
        metrics = Metrics(read_manifest(version), CollectorRegistry())
        classifier = Classifier(Bytes(), graph, tiny.rule)
        batcher = Batcher(classifier, metrics, threads=threads, capacity=capacity, clock=lambda: graph.now)
        started.append((graph, batcher))
        return batcher

    yield start
    for graph, batcher in started:
        graph.let()
        batcher.close()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def within_patience() -> None:
        async with asyncio.timeout(PATIENCE):
            await test()

    asyncio.run(within_patience())


def lengths(_: Sequence[Prediction], probabilities: Floats) -> Any:
    """Return the lengths of the texts, from the probabilities that `Held` computed."""
    return [round(100 * float(each)) for each in np.log(probabilities[:, 0] / (1 - probabilities[:, 0]))]


def both(predictions: Sequence[Prediction], probabilities: Floats) -> tuple[Sequence[Prediction], Floats]:
    """All that a request is given."""
    return predictions, probabilities


async def asked(batcher: Batcher, *texts: str, finish: Callable[..., Any] = lengths) -> asyncio.Task[Any]:
    """A request that stands in the queue."""
    task = asyncio.create_task(batcher.classify(texts, finish))
    await asyncio.sleep(0)
    return task


async def plugged(graph: Held, batcher: Batcher, threads: int = 1) -> list[asyncio.Task[Any]]:
    """Requests that keep every thread busy."""
    tasks = []
    for _ in range(threads):
        tasks.append(await asked(batcher, PLUG))
        assert await graph.began() == [PLUG]
    return tasks


words = st.lists(st.sampled_from([*LABELS, "word", "another"]), max_size=40).map(" ".join)


@settings(max_examples=150)
@given(st.lists(st.lists(words, max_size=12), max_size=12), st.integers(0, 2))
def test_every_text_gets_its_own_answer_whoever_asks_meanwhile(
    batchers: list[Batcher], tiny: Classifier, requests: list[list[str]], which: int
) -> None:
    async def ask() -> list[tuple[Sequence[Prediction], Floats]]:
        return await asyncio.gather(*(batchers[which].classify(texts, both) for texts in requests))

    answers = asyncio.run(ask())

    for texts, (predictions, probabilities) in zip(requests, answers, strict=True):
        alone = [tiny.probabilities([text]) for text in texts]
        assert np.array_equal(probabilities, np.concatenate([np.zeros((0, len(LABELS)), np.float32), *alone]))
        assert list(predictions) == [prediction for text in texts for prediction in tiny.predict([text])]


def test_a_lone_request_is_computed_at_once(start: Start) -> None:
    async def test() -> None:
        batcher = start(graph := Held(), threads=2)

        task = await asked(batcher, "a")

        assert await graph.began() == ["a"]  # though no other text has arrived
        graph.let()
        assert await task == [1]

    run(test)


def test_no_texts_need_no_thread(start: Start) -> None:
    async def test() -> None:
        batcher = start(graph := Held())
        await plugged(graph, batcher)

        assert await batcher.classify([], lambda _, found: found.shape) == (0, len(LABELS))

    run(test)


def test_while_all_threads_are_busy_texts_of_similar_length_gather(start: Start) -> None:
    async def test() -> None:
        batcher = start(graph := Held())
        await plugged(graph, batcher)
        long = "x" * 900
        tasks = [await asked(batcher, *texts) for texts in (["a"], [long, "bb"], ["ccc"], [long])]
        graph.let()

        assert [await task for task in tasks] == [[1], [900, 2], [3], [900]]
        assert [sorted(batch) for batch in graph.batches] == [[PLUG], ["a", "bb", "ccc"], [long, long]]

    run(test)


def test_the_threads_share_what_waits(start: Start) -> None:
    async def test() -> None:
        batcher = start(graph := Held(), threads=2)
        await plugged(graph, batcher, threads=2)
        task = await asked(batcher, *"abcdefgh")
        graph.let()
        await task

        assert max(len(batch) for batch in graph.batches) == 4

    run(test)


@pytest.mark.parametrize("before", [1, 3])
def test_a_small_request_waits_for_no_more_than_a_batch_of_each_large_one_before_it(start: Start, before: int) -> None:
    async def test() -> None:
        batcher = start(graph := Held(), capacity=5000)
        await plugged(graph, batcher)
        large = [await asked(batcher, *["x" * (20 + 200 * number)] * 900) for number in range(before)]
        small = await asked(batcher, "small")
        graph.let()
        await asyncio.gather(*large, small)

        assert ["small" in batch for batch in graph.batches].index(True) == 1 + before

    run(test)


def test_requests_of_one_size_are_answered_one_after_the_other(start: Start) -> None:
    async def test() -> None:
        batcher = start(graph := Held(), capacity=5000)
        await plugged(graph, batcher)
        texts = ["x" * 20, "x" * 220]
        both = [await asked(batcher, *[text] * 900) for text in texts]
        graph.let()
        await asyncio.gather(*both)

        assert [text for batch in graph.batches for text in batch] == [PLUG, *[texts[0]] * 900, *[texts[1]] * 900]

    run(test)


def test_a_lone_text_is_marked_alone_if_nothing_waits(start: Start) -> None:
    async def test() -> None:
        batcher = start(graph := Held())
        await plugged(graph, batcher)
        task = await asked(batcher, "a", "x" * 900)  # too long to go together
        graph.let()
        await task

        assert graph.alone == [True, False, True]

    run(test)


def test_texts_of_a_batch_are_not_marked_alone(start: Start) -> None:
    async def test() -> None:
        batcher = start(graph := Held())
        graph.let()
        await batcher.classify(["a", "b"], lengths)

        assert (graph.batches, graph.alone) == ([["b", "a"]], [False])  # the graph would not use every core for them

    run(test)


def test_a_text_is_not_marked_alone_while_another_thread_computes(start: Start) -> None:
    async def test() -> None:
        batcher = start(graph := Held(), threads=2)
        await plugged(graph, batcher, threads=2)

        assert graph.alone[1] is False

    run(test)


def test_the_queue_is_bounded_and_says_when_to_come_back(start: Start) -> None:
    async def test() -> None:
        batcher = start(graph := Held(), capacity=3)
        await plugged(graph, batcher)  # is computed, so it does not wait
        let_in = await asked(batcher, "a", "b")

        with pytest.raises(QueueFull) as full:
            await batcher.classify(["c", "d"], lengths)
        fits = await asked(batcher, "e")
        graph.let()

        assert str(full.value) == "The queue is full: 2 texts are waiting, of at most 3. Retry in 1 s."
        assert [await let_in, await fits] == [[1, 1], [1]]
        assert await batcher.classify(["c", "d"], lengths) == [1, 1]

    run(test)


def test_a_refused_request_gets_the_time_until_the_waiting_texts_are_computed(start: Start) -> None:
    async def test() -> None:
        batcher = start(graph := Held(), capacity=3)
        graph.seconds = 10.0
        graph.let()
        for _ in range(200):  # until that is what a text is known to take
            await batcher.classify([PLUG], lengths)
            await graph.began()
        graph.hold()
        await plugged(graph, batcher)
        await asked(batcher, "a", "b", "c")

        with pytest.raises(QueueFull) as full:
            await batcher.classify(["d"], lengths)
        assert full.value.retry_after == 30

    run(test)


def test_texts_that_take_long_are_not_gathered(start: Start) -> None:
    async def test() -> None:
        batcher = start(graph := Held())
        graph.seconds = 10.0
        graph.let()
        await batcher.classify([PLUG], lengths)
        await batcher.classify(["a", "b", "c"], lengths)

        assert [len(batch) for batch in graph.batches] == [1, 1, 1, 1]

    run(test)


def test_a_request_larger_than_the_queue_is_let_in_when_nothing_waits(start: Start) -> None:
    async def test() -> None:
        batcher = start(graph := Held(), capacity=3)
        await plugged(graph, batcher)
        larger = await asked(batcher, *"abcdefgh")
        with pytest.raises(QueueFull):
            await batcher.classify(["i"], lengths)
        graph.let()

        assert await larger == [1] * 8

    run(test)


def test_what_a_client_that_left_had_asked_is_not_computed_and_leaves_its_place(start: Start) -> None:
    async def test() -> None:
        batcher = start(graph := Held(), capacity=3)
        await plugged(graph, batcher)
        gone = await asked(batcher, "x", "y", "z")
        gone.cancel()
        await asyncio.sleep(0)

        task = await asked(batcher, "a", "b", "c")
        graph.let()

        assert await task == [1, 1, 1]
        assert gone.cancelled()
        assert graph.batches == [[PLUG], ["c", "b", "a"]]

    run(test)


def test_a_place_is_left_once_even_if_a_thread_notices_first(start: Start) -> None:
    async def test() -> None:
        batcher = start(graph := Held(), capacity=3)
        await plugged(graph, batcher)
        gone, task = await asked(batcher, "x", "y"), await asked(batcher, "a")
        gone.cancel()
        graph.let()
        assert graph.next() == ["a"]  # while the loop stands still
        await task
        graph.hold()
        await plugged(graph, batcher)
        await asked(batcher, "b", "c")

        with pytest.raises(QueueFull):
            await batcher.classify(["d", "e"], lengths)

    run(test)


def test_a_client_may_leave_while_its_text_is_computed(start: Start) -> None:
    async def test() -> None:
        batcher = start(graph := Held())
        (gone,) = await plugged(graph, batcher)
        stays = await asked(batcher, "a")
        gone.cancel()
        graph.let()

        assert await stays == [1]

    run(test)


@pytest.mark.parametrize("harm", [pytest.param(ValueError("bad"), id="error"), pytest.param(Panic("bad"), id="panic")])
def test_a_text_that_cannot_be_computed_fails_only_its_own_request(start: Start, harm: BaseException) -> None:
    async def test() -> None:
        batcher = start(graph := Held(harm=harm))
        await plugged(graph, batcher)
        tasks = [await asked(batcher, *texts) for texts in (["a"], ["b", POISON, "c"], ["d", "e"])]
        graph.let()
        answers = await asyncio.gather(*tasks, return_exceptions=True)

        assert [answers[0], answers[2]] == [[1], [1, 1]]
        assert isinstance(answers[1], Exception)
        assert await batcher.classify(["later"], lengths) == [5]

    run(test)


def test_an_answer_that_cannot_be_made_fails_only_its_own_request(start: Start) -> None:
    def fail(*_: object) -> None:
        raise LookupError("no such label")

    async def test() -> None:
        batcher = start(graph := Held())
        await plugged(graph, batcher)
        tasks = [await asked(batcher, "a"), await asked(batcher, "b", finish=fail), await asked(batcher, "c")]
        graph.let()
        answers = await asyncio.gather(*tasks, return_exceptions=True)

        assert [answers[0], answers[2]] == [[1], [1]]
        assert isinstance(answers[1], LookupError)
        assert len(graph.batches) == 2  # nothing was computed again

    run(test)


def test_closing_computes_what_waits_and_ends_the_threads(start: Start) -> None:
    before = set(threading.enumerate())

    async def test() -> None:
        batcher = start(graph := Held(), threads=3)
        threads = {each for each in threading.enumerate() if each.name.startswith("predict-")} - before
        tasks = [*await plugged(graph, batcher, threads=3), await asked(batcher, "a", "b")]
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        graph.let()

        await closing
        assert await asyncio.gather(*tasks) == [[4], [4], [4], [1, 1]]
        assert len(threads) == 3
        assert not any(each.is_alive() for each in threads)

    run(test)


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_nothing_is_harmed_where_the_loop_ends_before_its_texts_are_computed(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    batcher = start(graph := Held())

    async def leave() -> None:
        await plugged(graph, batcher)

    run(leave)
    graph.let()
    batcher.close()

    assert graph.batches == [[PLUG]]
    assert not caplog.records


@pytest.mark.parametrize("all_cores_are_faster", [True, False])
def test_a_text_that_is_alone_is_computed_the_faster_way_and_the_other_is_tried_now_and_then(all_cores_are_faster: bool) -> None:
    alone = _LoneTextStrategy()
    chosen = []
    for _ in range(10 * EXPLORE_EVERY_TEXTS):
        way = alone.choose(LONG_TEXT_CHARACTERS + 1)
        chosen.append(way)
        alone.learn(LONG_TEXT_CHARACTERS + 1, 1.0 if way is all_cores_are_faster else 2.0, all_cores=way)

    assert chosen[EXPLORE_EVERY_TEXTS:].count(all_cores_are_faster) == 9 * (EXPLORE_EVERY_TEXTS - 1)


def test_short_texts_and_long_ones_learn_apart() -> None:
    alone = _LoneTextStrategy()
    for way in (True, False):
        alone.learn(1, 1.0 if way else 2.0, all_cores=way)
        alone.learn(LONG_TEXT_CHARACTERS + 1, 2.0 if way else 1.0, all_cores=way)

    assert (alone.choose(1), alone.choose(LONG_TEXT_CHARACTERS + 1)) == (True, False)
