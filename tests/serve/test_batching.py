"""The queue alone, around a stand-in for the model that can be made slow or broken."""

import asyncio
import threading
import time
from concurrent.futures import BrokenExecutor

import pytest

from poisonsieve.serve.batching import Batcher, ClosedError, QueueFullError
from poisonsieve.verdict import Verdict


class Model:
    """Judges by the text; keeps the batches it was given."""

    one_pass = False

    class guard:
        class threshold_:
            gamma = 0.5

    def __init__(self):
        self.batches = []
        self.answered = []
        self.threads = set()
        self.go = threading.Event()
        self.go.set()

    def judge(self, texts):
        self.threads.add(threading.get_ident())
        self.batches.append(list(texts))
        assert self.go.wait(20)
        if any(text == "explode" for text in texts):
            raise RuntimeError("explode")
        return [Verdict.scored(0.1, gamma=0.5, flagged=text == "bad", truncated=False) for text in texts]

    def answer(self, texts, verdicts):
        self.answered.append(list(texts))
        return [
            v if v.rejected else Verdict(None, None, 0.1, 0.5, False, 1, f"class of {t}", 0.9)
            for t, v in zip(texts, verdicts, strict=True)
        ]


class OnePassModel(Model):
    """Answers with the verdict."""

    one_pass = True

    def screen(self, texts):
        return self.answer(texts, self.judge(texts))


def run(test, model=None, **options):
    async def around(model=model):
        model = model or Model()
        batcher = Batcher(model, **{"max_batch": 8, "max_queue": 100, "max_wait": 0.05, **options})
        batcher.start()
        try:
            await asyncio.wait_for(test(model, batcher), 30)
        finally:
            model.go.set()
            await batcher.close()
        assert batcher.queue_length == 0
        assert len(model.threads) <= options.get("workers", 1)

    asyncio.run(around())


def test_texts_of_many_requests_are_scored_together_and_each_gets_its_own():
    async def test(model, batcher):
        asked = [([f"text {i}.{j}" for j in range(1 + i % 3)], bool(i % 2)) for i in range(12)]
        answers = await asyncio.gather(*(batcher.submit(texts, classify=classify) for texts, classify in asked))
        for (texts, classify), verdicts in zip(asked, answers, strict=True):
            assert [v.label_name for v in verdicts] == [f"class of {t}" if classify else None for t in texts]
        assert sum(map(len, model.batches)) == 24
        assert max(map(len, model.batches)) == 8
        assert len(model.batches) <= 4

    run(test)


def test_an_answer_that_comes_with_the_verdict_is_given_to_those_who_asked():
    async def test(model, batcher):
        asked = [["a", "bad"], ["b"]]
        answered, judged = await asyncio.gather(
            batcher.submit(asked[0], classify=True), batcher.submit(asked[1], classify=False)
        )
        assert [(v.outcome, v.label_name) for v in answered] == [("passed", "class of a"), ("poisoned", None)]
        assert [(v.outcome, v.label_name, v.score) for v in judged] == [("passed", None, None)]
        assert model.batches == [["a", "bad", "b"]], "one pass for all of them"

    run(test, OnePassModel())


def test_a_request_may_be_larger_than_a_batch():
    async def test(model, batcher):
        texts = [str(i) for i in range(30)]
        verdicts = await batcher.submit(texts, classify=True)
        assert [v.label_name for v in verdicts] == [f"class of {t}" for t in texts]
        assert [len(batch) for batch in model.batches] == [8, 8, 8, 6]

    run(test)


def test_a_lone_text_waits_no_longer_than_it_may():
    async def test(model, batcher):
        started = time.monotonic()
        await batcher.submit(["a"], classify=False)
        assert 0.03 < time.monotonic() - started < 1
        started = time.monotonic()
        await batcher.submit([str(i) for i in range(8)], classify=False)
        assert time.monotonic() - started < 0.03 or len(model.batches) == 2  # a full batch does not wait

    run(test)


def test_what_does_not_fit_is_refused_at_once_and_fits_later():
    async def test(model, batcher):
        model.go.clear()
        first = asyncio.create_task(batcher.submit(["a"] * 60, classify=False))
        await asyncio.sleep(0.1)
        with pytest.raises(QueueFullError) as refused:
            await batcher.submit(["b"] * 41, classify=False)
        assert refused.value.retry_after >= 1
        assert batcher.queue_length == 60
        second = asyncio.create_task(batcher.submit(["b"] * 40, classify=False))
        await asyncio.sleep(0)
        assert batcher.queue_length == 100
        model.go.set()
        assert (len(await first), len(await second)) == (60, 40)
        assert len(await batcher.submit(["c"] * 100, classify=False)) == 100

    run(test)


def test_texts_nobody_waits_for_are_not_scored():
    async def test(model, batcher):
        model.go.clear()
        first = asyncio.create_task(batcher.submit(["a"], classify=False))
        await asyncio.sleep(0.1)
        gone = asyncio.create_task(batcher.submit(["gone"] * 50, classify=False))
        kept = asyncio.create_task(batcher.submit(["kept"], classify=False))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        model.go.set()
        await first
        await kept
        assert "gone" not in [text for batch in model.batches for text in batch]

    run(test)


def test_one_text_that_breaks_the_model_takes_no_other_with_it():
    async def test(model, batcher):
        good, broken, bad = await asyncio.gather(
            batcher.submit(["good"], classify=True),
            batcher.submit(["fine", "explode"], classify=True),
            batcher.submit(["bad"], classify=True),
        )
        assert (good[0].rejected, good[0].label_name) == (False, "class of good")
        assert broken[0].label_name == "class of fine"
        assert (broken[1].rejected, broken[1].reason, broken[1].confidence) == (
            True,
            "model failed: RuntimeError",
            None,
        )
        assert (broken[1].outcome, broken[1].cause) == ("not_scored", "exception")
        assert (bad[0].rejected, bad[0].label) == (True, None)

    run(test)


def test_stopping_finishes_what_was_accepted_and_takes_no_more():
    async def test(model, batcher):
        model.go.clear()
        accepted = [asyncio.create_task(batcher.submit([f"{i}"] * 5, classify=False)) for i in range(6)]
        await asyncio.sleep(0.1)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(ClosedError):
            await batcher.submit(["late"], classify=False)
        model.go.set()
        await closing
        assert [len(await each) for each in accepted] == [5] * 6
        assert not batcher.alive

    run(test)


def test_a_model_that_hangs_is_seen():
    async def test(model, batcher):
        assert batcher.busy_seconds() == 0
        model.go.clear()
        stuck = asyncio.create_task(batcher.submit(["a"], classify=False))
        await asyncio.sleep(0.3)
        assert 0.1 < batcher.busy_seconds() < 5
        model.go.set()
        await stuck
        assert batcher.busy_seconds() == 0

    run(test)


def test_two_threads_share_what_waits_and_work_at_the_same_time():
    async def test(model, batcher):
        model.go.clear()
        asked = [asyncio.create_task(batcher.submit([f"text {i}"], classify=True)) for i in range(6)]
        while len(model.batches) < 2:
            await asyncio.sleep(0.01)
        assert [len(batch) for batch in model.batches] == [3, 3]
        assert batcher.queue_length == 6
        later = asyncio.create_task(batcher.submit(["later"], classify=True))
        await asyncio.sleep(0.1)
        assert len(model.batches) == 2  # both are busy: it waits
        model.go.set()
        assert [(await each)[0].label_name for each in asked] == [f"class of text {i}" for i in range(6)]
        assert (await later)[0].label_name == "class of later"
        assert len(model.threads) == 2

    run(test, workers=2)


def test_without_threads_callers_are_told_and_the_queue_says_that_it_is_dead():
    def broken():
        raise RuntimeError("no thread")

    async def test():
        batcher = Batcher(Model(), max_batch=2, max_queue=100, max_wait=0, worker_starts=broken)
        batcher.start()
        with pytest.raises(BrokenExecutor):
            await asyncio.wait_for(batcher.submit(["a"] * 5, classify=False), 10)
        assert not batcher.alive
        assert batcher.queue_length <= 3  # what waits of it is dropped when it is its turn
        await asyncio.wait_for(batcher.close(), 10)
        assert batcher.queue_length == 0

    asyncio.run(test())


def test_a_batch_without_a_thread_takes_no_other_with_it(monkeypatch):
    async def test(model, batcher):
        model.go.clear()
        first = asyncio.create_task(batcher.submit(["first"], classify=True))
        while not model.batches:
            await asyncio.sleep(0.01)
        with monkeypatch.context() as patch:
            patch.setattr(
                threading.Thread, "start", lambda self: (_ for _ in ()).throw(RuntimeError("no new thread"))
            )
            with pytest.raises(RuntimeError, match="no new thread"):
                await batcher.submit(["second"], classify=True)
        assert batcher.alive
        third = asyncio.create_task(batcher.submit(["third"], classify=True))
        model.go.set()
        assert (await first)[0].label_name == "class of first"
        assert (await third)[0].label_name == "class of third"

    run(test, workers=2)


def test_there_is_room_again_when_answers_are_out():
    async def test(model, batcher):
        for _ in range(5):
            assert len(await batcher.submit(["a"] * 8, classify=False)) == 8

    run(test, max_queue=8)


def test_the_victim_is_asked_only_about_what_passed_and_is_wanted():
    async def test(model, batcher):
        answers = await asyncio.gather(
            batcher.submit(["good", "bad"], classify=True), batcher.submit(["screened"], classify=False)
        )
        assert [v.label_name for verdicts in answers for v in verdicts] == ["class of good", None, None]
        assert model.answered == [["good"]]

    run(test)
