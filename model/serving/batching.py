"""Micro-batcher: classifies the texts of all requests on a few threads, while the event loop stays free.

A free thread takes whatever waits; no text waits for others to arrive. So a lone request is classified at once, and batches form
only while all threads are busy. On CPUs, the cost of a batch depends on its tokens, padding included. So a batch has texts of
similar length, at most as many as can be classified in TARGET_BATCH_SECONDS.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from threading import Condition, Thread
from time import perf_counter
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from model.classifier import Classifier, Floats, Prediction, to_probabilities
from model.serving.errors import QueueFull
from model.serving.metrics import Metrics

T = TypeVar("T")
TARGET_BATCH_SECONDS = 0.02  # longer batches raise latency, but not throughput
MAX_BATCH_CHARACTERS = 1 << 16  # limit of a batch, for when the estimate of its time is too low, even tenfold
# Lengths are similar if they differ from the first text's by at most the factor MAX_LENGTH_RATIO, plus as many characters as
# take PADDING_SECONDS.
MAX_LENGTH_RATIO, PADDING_SECONDS = 1.5, 0.0005
TEXT_OVERHEAD_CHARACTERS = 64  # fixed cost of a text, in characters
LARGE_REQUEST_CHARACTERS = 1 << 16  # a request whose texts have more characters together is large
LONG_TEXT_CHARACTERS = 256  # a lone text with more characters is long
EXPLORE_EVERY_TEXTS = 16  # one lone text in this many is classified the slower way, to measure that way again
LOOK_AHEAD_REQUESTS = 256  # requests that are searched for texts of similar length

logger = logging.getLogger(__name__)


# Makes a request's result from its predictions and its probabilities [texts, labels].
Finish = Callable[[Sequence[Prediction], Floats], T]


class _PendingRequest(Generic[T]):
    """Texts of one request, and the results so far."""

    __slots__ = ("arrived", "finish", "future", "predictions", "probabilities", "sizes", "texts", "waiting")

    def __init__(
        self, texts: Sequence[str], sizes: Sequence[int], finish: Finish[T], future: asyncio.Future[T], *, arrived: float
    ) -> None:
        self.texts = texts
        self.sizes = sizes  # in characters that are tokenised
        self.finish = finish
        self.future = future
        # Positions of the texts that wait, the shortest last.
        self.waiting = sorted(range(len(texts)), key=lambda at: -sizes[at]) if len(texts) > 1 else [0]
        # Predictions of the classified texts, by position.
        self.predictions: dict[int, Prediction] = {}
        self.probabilities: Floats | None = None
        self.arrived = arrived

    @property
    def is_done(self) -> bool:
        """Whether none of its texts is to be taken any more: all were taken, the client has gone, or a text has failed."""
        return not self.waiting or self.future.done()

    def shortest(self) -> int:
        return self.sizes[self.waiting[-1]]


_Text = tuple[_PendingRequest[Any], int]  # a text's request, and its position in the request


class _Batch(NamedTuple):
    """Texts to classify together.

    alone: whether it has one text, and when it was taken no other text waited and all other threads were idle.
    """

    texts: list[_Text]
    alone: bool


class _LoneTextStrategy:
    """Choice whether a lone text is classified on all cores or on one: whichever was faster lately.

    All cores are faster for a long text on an idle machine, and slower if other processes use the cores. So the slower way
    is tried again now and then, for short texts and long ones separately.
    """

    def __init__(self) -> None:
        # Keys: (is the text long, were all cores used).
        self._seconds_per_character: dict[tuple[bool, bool], float] = {}
        self._choices = 0

    def choose(self, characters: int) -> bool:
        """Return whether to classify a text of this length on all cores."""
        self._choices += 1
        is_long = characters > LONG_TEXT_CHARACTERS
        all_cores, one_core = (self._seconds_per_character.get((is_long, way), 0.0) for way in (True, False))
        faster = all_cores <= one_core
        return faster if self._choices % EXPLORE_EVERY_TEXTS else not faster

    def learn(self, characters: int, seconds: float, *, all_cores: bool) -> None:
        way = (characters > LONG_TEXT_CHARACTERS, all_cores)
        cost = seconds / (characters + TEXT_OVERHEAD_CHARACTERS)
        self._seconds_per_character[way] = cost + (self._seconds_per_character.get(way, cost) - cost) * 7 / 8


class Batcher:
    """Micro-batcher with `threads` threads. At most `capacity` texts wait; if none waits, a request of any size is accepted.

    Large and small requests are counted separately, so that large ones cannot exclude small ones. The requests of a kind in
    flight have at most `characters` characters together; if none is in flight, one of any size is accepted.
    """

    def __init__(
        self,
        classifier: Classifier,
        metrics: Metrics,
        *,
        threads: int,
        capacity: int,
        characters: int = 4_000_000,
        clock: Callable[[], float] = perf_counter,  # in seconds
    ) -> None:
        self._classifier = classifier
        self._metrics = metrics
        self._clock = clock
        self._capacity = capacity
        self._max_characters = characters
        self._characters = {True: 0, False: 0}  # of the requests in flight; keys: is the request large
        self._changed = Condition()
        self._requests: deque[_PendingRequest[Any]] = deque()
        self._waiting = 0  # texts
        self._idle = 0  # threads
        self._closing = False
        self._lone_text_strategy = _LoneTextStrategy()
        # Moving averages over the batches of all threads: seconds of one thread.
        self._seconds_per_text = 0.001
        self._seconds_per_character = 1e-6
        metrics.watch(lambda: self._waiting, capacity=capacity, threads=threads)
        self._threads = [Thread(target=self._work, name=f"predict-{number}") for number in range(threads)]
        for thread in self._threads:
            thread.start()

    async def classify(self, texts: Sequence[str], finish: Finish[T]) -> T:
        """Classify the texts and return the result of `finish`.

        finish: takes predictions, as `PredictionRule.predictions` returns them, and probabilities. It is called on a batcher
        thread; if there are no texts, by the caller itself. If the caller is cancelled, its waiting texts are not classified.
        Raises QueueFull, errors of `finish`, and errors of the classifier for these texts.
        """
        if not texts:
            return finish([], np.zeros((0, self._classifier.onnx_model.label_count), np.float32))
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        characters = sum(map(len, texts))
        is_large = characters > LARGE_REQUEST_CHARACTERS
        sizes = [self._classifier.tokenizer.tokenized_characters(text) for text in texts]
        request = _PendingRequest(texts, sizes, finish, future, arrived=self._clock())
        with self._changed:
            if self._waiting and self._waiting + len(texts) > self._capacity:
                self._metrics.refused()
                seconds = self._waiting * self._seconds_per_text / len(self._threads)
                raise QueueFull(self._waiting, self._capacity, math.ceil(seconds) or 1)
            if self._characters[is_large] and self._characters[is_large] + characters > self._max_characters:
                self._metrics.refused()
                raise QueueFull(self._characters[is_large], self._max_characters, 1, what="characters")
            self._requests.append(request)
            self._waiting += len(texts)
            self._characters[is_large] += characters
            if self._idle:
                self._changed.notify(len(texts))
        try:
            return await request.future
        except asyncio.CancelledError:
            with self._changed:
                self._waiting -= len(request.waiting)
                request.waiting.clear()
            raise
        finally:
            self._characters[is_large] -= characters  # without the lock: only the event loop's thread changes it

    def close(self) -> None:
        """Finish the waiting texts, then stop the threads."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while batch := self._take():
            try:
                self._classify(batch)
            except BaseException:  # such as a panic in the tokenizer (Rust), which must not end the thread
                logger.exception("a batch of %d texts failed", len(batch.texts))
                self._classify_one_by_one(batch)

    def _classify(self, batch: _Batch) -> None:
        characters = sum(request.sizes[at] for request, at in batch.texts)
        all_cores = batch.alone and self._lone_text_strategy.choose(characters)
        started = self._clock()
        tokens = self._classifier.tokenizer.encode([request.texts[at] for request, at in batch.texts])
        logits = self._classifier.onnx_model.logits(tokens, alone=all_cores)
        probabilities = to_probabilities(logits, self._classifier.rule.task)
        # A call for the whole batch takes no longer than a call for one text.
        predictions = self._classifier.rule.predictions(probabilities)
        seconds = self._clock() - started
        self._metrics.computed(tokens, probabilities, seconds)
        if batch.alone:
            self._lone_text_strategy.learn(characters, seconds, all_cores=all_cores)
        self._seconds_per_text += (seconds / len(tokens) - self._seconds_per_text) / 16
        cost = seconds / (characters + TEXT_OVERHEAD_CHARACTERS * len(tokens))
        self._seconds_per_character += (cost - self._seconds_per_character) / 16
        results = zip(batch.texts, predictions, probabilities[:, np.newaxis], strict=True)
        _settle([outcome for text, prediction, row in results if (outcome := self._record(*text, prediction, row))])

    def _classify_one_by_one(self, batch: _Batch) -> None:
        """Classify the texts of a failed batch separately, so that only the requests with a faulty text fail."""
        for each in batch.texts:
            try:
                self._classify(_Batch([each], alone=False))
            except BaseException as error:  # noqa: BLE001, the request gets it
                exception = error if isinstance(error, Exception) else RuntimeError(repr(error))
                _settle([(each[0].future, None, exception)])

    def _record(self, request: _PendingRequest[T], at: int, prediction: Prediction, row: Floats) -> _Outcome | None:
        """Store the result of a text, and return the request's outcome if it was the last one. row: [1, labels]."""
        predictions, probabilities = [prediction], row
        if len(request.texts) > 1:
            with self._changed:  # other threads may classify texts of the same request
                if request.probabilities is None:
                    request.probabilities = np.empty((len(request.texts), row.shape[1]), np.float32)
                request.probabilities[at] = row[0]
                request.predictions[at] = prediction
                if len(request.predictions) < len(request.texts):
                    return None
            predictions = [request.predictions[each] for each in range(len(request.texts))]
            probabilities = request.probabilities
        try:
            return request.future, request.finish(predictions, probabilities), None
        except Exception as error:  # noqa: BLE001, the request gets it
            return request.future, None, error

    def _take(self) -> _Batch | None:
        """Wait for texts and return the next batch; None if the batcher is closed and no text waits."""
        with self._changed:
            while True:
                while not self._requests:
                    if self._closing:
                        return None
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                if texts := self._take_similar():
                    others_idle = self._idle == len(self._threads) - 1
                    return _Batch(texts, alone=len(texts) == 1 and others_idle and not self._waiting)

    def _take_similar(self) -> list[_Text]:
        """Take texts of similar length from the queue: from the first request, then from later ones.

        If the first request is already done, remove it and return an empty list.
        """
        first = self._requests[0]
        if first.is_done:
            self._requests.popleft()
            self._waiting -= len(first.waiting)
            first.waiting.clear()  # else a cancelled `classify` would subtract these texts from `_waiting` a second time
            return []
        length = first.shortest()
        slack = PADDING_SECONDS / self._seconds_per_character
        shortest, longest = length / MAX_LENGTH_RATIO - slack, length * MAX_LENGTH_RATIO + slack
        texts_in_time = int(TARGET_BATCH_SECONDS / (self._seconds_per_character * (length + TEXT_OVERHEAD_CHARACTERS)))
        share = math.ceil(self._waiting / len(self._threads))  # so that all threads finish at the same time
        max_texts = min(share, max(1, min(texts_in_time, MAX_BATCH_CHARACTERS // (length or 1))))
        batch: list[_Text] = []
        for request in islice(self._requests, LOOK_AHEAD_REQUESTS):
            while len(batch) < max_texts and not request.is_done and shortest <= request.shortest() <= longest:
                if len(request.waiting) == len(request.texts):
                    self._metrics.waited(self._clock() - request.arrived)
                batch.append((request, request.waiting.pop()))
            if len(batch) == max_texts:
                break
        self._waiting -= len(batch)
        others = islice(self._requests, 1, LOOK_AHEAD_REQUESTS)
        if first.waiting and any(0 < len(each.waiting) < len(first.waiting) for each in others):
            self._requests.rotate(-1)  # to the end, so that smaller ones do not wait for it
        return batch


_Outcome = tuple[asyncio.Future[Any], Any, Exception | None]  # a request's future, its result, its error


def _settle(outcomes: Sequence[_Outcome]) -> None:
    """Set the futures' results, or errors, in the event loop."""
    if outcomes:
        with suppress(RuntimeError):  # the loop has ended, so no request waits
            outcomes[0][0].get_loop().call_soon_threadsafe(_set, outcomes)


def _set(outcomes: Sequence[_Outcome]) -> None:
    for future, result, error in outcomes:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
