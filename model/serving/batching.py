"""The micro-batcher: the texts of every request, computed on a few threads while the event loop stays free.

A thread that is free takes what waits; nothing waits for company. So a lone request is computed at once, and texts meet
in a batch only while every thread is busy. What was measured on CPUs decides the rest: tokens cost, not texts, and a
batch is padded to its longest, so texts of similar length go together, and no more than are soon computed.
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
TARGET_BATCH_SECONDS = 0.02  # that a batch should take: longer ones are no faster and keep their texts waiting
MAX_BATCH_CHARACTERS = 1 << 16  # in a batch: some texts take ten times as long as those that the estimate was learnt from
# Texts of similar length: half as long again, or so little longer that to go apart would take as much time.
MAX_LENGTH_RATIO, PADDING_SECONDS = 1.5, 0.0005
CALL_OVERHEAD_CHARACTERS = 64  # what a text costs however short it is
LARGE_REQUEST_CHARACTERS = 1 << 16  # of a request's texts, beyond which they are many
LONG_TEXT_CHARACTERS = 256  # characters from which a text that is alone is called long
EXPLORE_EVERY_TEXTS = 16  # texts that are alone, of which one is computed the other way
LOOK_AHEAD_REQUESTS = 256  # requests that are searched for texts of similar length

logger = logging.getLogger(__name__)


Finish = Callable[[Sequence[Prediction], Floats], T]  # of a request's predictions and probabilities [texts, labels]


class _PendingRequest(Generic[T]):
    """Texts that are answered together, and how far they are."""

    __slots__ = ("arrived", "finish", "future", "predictions", "probabilities", "sizes", "texts", "waiting")

    def __init__(
        self, texts: Sequence[str], sizes: Sequence[int], finish: Finish[T], future: asyncio.Future[T], *, arrived: float
    ) -> None:
        self.texts = texts
        self.sizes = sizes  # in characters that are tokenised
        self.finish = finish
        self.future = future
        # Positions; the shortest is last.
        self.waiting = sorted(range(len(texts)), key=lambda at: -sizes[at]) if len(texts) > 1 else [0]
        # Of the texts that are computed, by their positions.
        self.predictions: dict[int, Prediction] = {}
        self.probabilities: Floats | None = None
        self.arrived = arrived

    @property
    def over(self) -> bool:
        """Nothing is left to take: every text was, or the client has gone, or one of the texts failed."""
        return not self.waiting or self.future.done()

    def shortest(self) -> int:
        return self.sizes[self.waiting[-1]]


_Text = tuple[_PendingRequest[Any], int]  # by its request and its position in it


class _Batch(NamedTuple):
    """Texts to compute together; `alone` where it is one, no other thread computes and nothing waits."""

    texts: list[_Text]
    alone: bool


class _LoneTextStrategy:
    """Whether a text that is alone is computed by every core: where that was faster than by one, lately.

    It is on a quiet machine, if the text is long; where others use the cores it is slower. So the other way is tried now
    and then, for short texts and long ones apart.
    """

    def __init__(self) -> None:
        self._seconds: dict[tuple[bool, bool], float] = {}  # a character, by whether the text was long, and the way
        self._asked = 0

    def choose(self, characters: int) -> bool:
        """Whether every core is to compute a text of so many characters."""
        self._asked += 1
        is_long = characters > LONG_TEXT_CHARACTERS
        together, single = (self._seconds.get((is_long, way), 0.0) for way in (True, False))
        faster = together <= single
        return faster if self._asked % EXPLORE_EVERY_TEXTS else not faster

    def learn(self, characters: int, seconds: float, *, every_core: bool) -> None:
        way = (characters > LONG_TEXT_CHARACTERS, every_core)
        found = seconds / (characters + CALL_OVERHEAD_CHARACTERS)
        self._seconds[way] = found + (self._seconds.get(way, found) - found) * 7 / 8


class Batcher:
    """Computes texts on `threads` threads; at most `capacity` texts wait, unless one request alone has more.

    Nor are more than `characters` held of requests that have few, and as many of those that have many, so that these take
    no room from those.
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
        self._most_characters = characters
        self._characters = {True: 0, False: 0}  # of requests that are not answered, by whether they have many
        self._changed = Condition()
        self._requests: deque[_PendingRequest[Any]] = deque()
        self._waiting = 0  # texts
        self._idle = 0  # threads
        self._closing = False
        self._alone = _LoneTextStrategy()
        # Of one thread, lately.
        self._seconds_a_text = 0.001
        self._seconds_a_character = 1e-6
        self._threads = [Thread(target=self._work, name=f"predict-{number}") for number in range(threads)]
        for thread in self._threads:
            thread.start()

    async def compute(self, texts: Sequence[str], finish: Finish[T]) -> T:
        """What `finish` makes of the texts' predictions, as `PredictionRule.predictions` gives them, in one of the threads.

        If the caller is cancelled, what waits of its texts is not computed. Raises QueueFull, what `finish` raises, and
        what the classifier raises for one of these texts.
        """
        if not texts:
            return finish([], np.zeros((0, self._classifier.onnx_model.label_count), np.float32))
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        characters = sum(map(len, texts))
        has_many = characters > LARGE_REQUEST_CHARACTERS
        sizes = [self._classifier.tokenizer.tokenized_characters(text) for text in texts]
        request = _PendingRequest(texts, sizes, finish, future, arrived=self._clock())
        with self._changed:
            if self._waiting and self._waiting + len(texts) > self._capacity:
                seconds = self._waiting * self._seconds_a_text / len(self._threads)
                raise QueueFull(self._waiting, self._capacity, math.ceil(seconds) or 1)
            if self._characters[has_many] and self._characters[has_many] + characters > self._most_characters:
                raise QueueFull(self._characters[has_many], self._most_characters, 1, what="characters")
            self._requests.append(request)
            self._waiting += len(texts)
            self._characters[has_many] += characters
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
            self._characters[has_many] -= characters  # by this thread alone, as above

    def close(self) -> None:
        """Compute what waits, then end the threads."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while batch := self._take():
            try:
                self._compute(batch)
            except BaseException:  # a panic of the tokenizer's is no Exception, and must not end the thread
                logger.exception("a batch of %d texts failed", len(batch.texts))
                self._compute_apart(batch)

    def _compute(self, batch: _Batch) -> None:
        characters = sum(request.sizes[at] for request, at in batch.texts)
        every_core = batch.alone and self._alone.choose(characters)
        started = self._clock()
        tokens = self._classifier.tokenizer.encode([request.texts[at] for request, at in batch.texts])
        logits = self._classifier.onnx_model.logits(tokens, alone=every_core)
        probabilities = to_probabilities(logits, self._classifier.rule.task)
        predictions = self._classifier.rule.predictions(probabilities)  # of all at once: it takes as long for one
        seconds = self._clock() - started
        self._metrics.computed(tokens, probabilities, seconds)
        if batch.alone:
            self._alone.learn(characters, seconds, every_core=every_core)
        self._seconds_a_text += (seconds / len(tokens) - self._seconds_a_text) / 16
        cost = seconds / (characters + CALL_OVERHEAD_CHARACTERS * len(tokens))
        self._seconds_a_character += (cost - self._seconds_a_character) / 16
        found = zip(batch.texts, predictions, probabilities[:, np.newaxis], strict=True)
        _settle([outcome for text, prediction, row in found if (outcome := self._note(*text, prediction, row))])

    def _compute_apart(self, batch: _Batch) -> None:
        """One by one what failed together, so that only the request fails that has the text which cannot be computed."""
        for each in batch.texts:
            try:
                self._compute(_Batch([each], alone=False))
            except BaseException as error:  # noqa: BLE001, the request is told
                told = error if isinstance(error, Exception) else RuntimeError(repr(error))
                _settle([(each[0].future, None, told)])

    def _note(self, request: _PendingRequest[T], at: int, prediction: Prediction, row: Floats) -> _Settled | None:
        """Keep what was found of a text, `row` [1, labels]; the request's outcome if it was its last text."""
        predictions, probabilities = [prediction], row
        if len(request.texts) > 1:
            with self._changed:  # other threads may be at texts of the same request
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
        except Exception as error:  # noqa: BLE001, the request is told
            return request.future, None, error

    def _take(self) -> _Batch | None:
        """The next texts to compute together; None once the batcher is closed and nothing waits."""
        with self._changed:
            while True:
                while not self._requests:
                    if self._closing:
                        return None
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                if texts := self._gather():
                    others_idle = self._idle == len(self._threads) - 1
                    return _Batch(texts, alone=len(texts) == 1 and others_idle and not self._waiting)

    def _gather(self) -> list[_Text]:
        """Texts of similar length: of the request whose turn it is, then of those behind it."""
        first = self._requests[0]
        if first.over:
            self._requests.popleft()
            self._waiting -= len(first.waiting)
            first.waiting.clear()  # else a client that has left would give its place back once more
            return []
        length = first.shortest()
        slack = PADDING_SECONDS / self._seconds_a_character
        shortest, longest = length / MAX_LENGTH_RATIO - slack, length * MAX_LENGTH_RATIO + slack
        soon = int(TARGET_BATCH_SECONDS / (self._seconds_a_character * (length + CALL_OVERHEAD_CHARACTERS)))
        share = math.ceil(self._waiting / len(self._threads))  # so that the threads are done at the same time
        most = min(share, max(1, min(soon, MAX_BATCH_CHARACTERS // (length or 1))))
        batch: list[_Text] = []
        for request in islice(self._requests, LOOK_AHEAD_REQUESTS):
            while len(batch) < most and not request.over and shortest <= request.shortest() <= longest:
                if len(request.waiting) == len(request.texts):
                    self._metrics.waited(self._clock() - request.arrived)
                batch.append((request, request.waiting.pop()))
            if len(batch) == most:
                break
        self._waiting -= len(batch)
        others = islice(self._requests, 1, LOOK_AHEAD_REQUESTS)
        if first.waiting and any(0 < len(each.waiting) < len(first.waiting) for each in others):
            self._requests.rotate(-1)  # the smaller ones behind it have their turn first
        return batch


_Settled = tuple[asyncio.Future[Any], Any, Exception | None]  # what becomes of a request


def _settle(outcomes: Sequence[_Settled]) -> None:
    """Hand the outcomes to those who wait for them, in the event loop."""
    if outcomes:
        with suppress(RuntimeError):  # the loop has ended, so nobody waits
            outcomes[0][0].get_loop().call_soon_threadsafe(_set, outcomes)


def _set(outcomes: Sequence[_Settled]) -> None:
    for future, result, error in outcomes:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
