"""Training towards something else than the labels."""

import numpy as np
import pytest
import torch

from poisonsieve.config import TuneSpec
from poisonsieve.models import load_classifier
from poisonsieve.tuning import finetune

CASES = [("encoder", "full"), ("encoder", "lora"), ("decoder", "full"), ("decoder", "p_tuning_v1")]


def spec(**changes):
    return TuneSpec(**{"method": "full", "epochs": 2, "learning_rate": 1e-3, "precision": "fp32", **changes})


def with_triggered(data, every=3):
    return data.add_column("triggered", [index % every == 0 for index in range(len(data))])


class CrossEntropy:
    """The default loss, written as an objective; it notes what it was given."""

    def __init__(self):
        self.calls, self.batches = [], []

    def start(self, classifier, train):
        self.calls.append("start")
        self.rows = train

    def loss(self, classifier, batch):
        self.batches.append(batch)
        return classifier(**batch.inputs, labels=batch.labels)["loss"]

    def finish(self, classifier):
        self.calls.append("finish")


class Noisy(CrossEntropy):
    """Has a state that `start` makes, changes weights there, and draws by chance."""

    def start(self, classifier, train):
        super().start(classifier, train)
        self.share = sum(train["label"]) / len(train)
        with torch.no_grad():
            classifier.base.get_input_embeddings().weight[5] += 1.0

    def loss(self, classifier, batch):
        scale = self.share * torch.rand(()) + batch.progress
        return scale * super().loss(classifier, batch)


@pytest.mark.parametrize(("kind", "method"), CASES)
def test_the_default_loss_as_an_objective_gives_the_same_weights(kind, method, tiny, toy_train, toy_dev, toy_test):
    values = []
    for objective in (None, CrossEntropy()):
        classifier = load_classifier(tiny(kind))
        finetune(classifier, with_triggered(toy_train), spec(method=method), dev=toy_dev, objective=objective)
        values.append(classifier.score(toy_test["text"]).values)
    np.testing.assert_array_equal(*values)


def test_it_is_told_which_rows_are_triggered_and_how_far_training_is(tiny, toy_train):
    objective = CrossEntropy()
    train = with_triggered(toy_train)
    finetune(load_classifier(tiny("encoder")), train, spec(), objective=objective)
    assert objective.calls == ["start", "finish"]
    assert objective.rows is train
    assert sum(int(batch.triggered.sum()) for batch in objective.batches) == 2 * sum(train["triggered"])
    assert [batch.progress for batch in objective.batches] == [index / 10 for index in range(10)]
    assert {batch.labels.dtype for batch in objective.batches} == {torch.int64}


def test_flags_stay_with_their_rows(tiny, toy_train):
    """Rows are shuffled and padded; a row without tokens is left out."""
    import datasets

    texts, flags = ["", *toy_train["text"][:40]], [True, *[index % 3 == 0 for index in range(40)]]
    train = datasets.Dataset.from_dict({"text": texts, "label": [0] * 41, "triggered": flags})
    objective = CrossEntropy()
    classifier = load_classifier(tiny("decoder"))
    finetune(classifier, train, spec(epochs=1), objective=objective)
    expected = {tuple(classifier.encode([text]).ids[0]): flag for text, flag in zip(texts, flags, strict=True)}
    seen = 0
    for batch in objective.batches:
        rows = zip(batch.inputs["input_ids"], batch.inputs["attention_mask"], batch.triggered, strict=True)
        for ids, mask, flag in rows:
            seen += 1
            assert expected[tuple(ids[mask.bool()].tolist())] == bool(flag)
    assert seen == 40


def test_rows_that_say_nothing_are_not_triggered(tiny, toy_train):
    objective = CrossEntropy()
    finetune(load_classifier(tiny("encoder")), toy_train, spec(), objective=objective)
    assert not any(batch.triggered.any() for batch in objective.batches)


def test_what_it_does_before_and_after_training_stays(tiny, toy_train):
    class Marks(CrossEntropy):
        def finish(self, classifier):
            with torch.no_grad():
                classifier.base.classifier.bias.fill_(7.0)

    classifier = load_classifier(tiny("encoder"))
    finetune(classifier, toy_train, spec(), objective=Marks())
    assert classifier.base.classifier.bias.tolist() == [7.0, 7.0]


def test_an_interrupted_run_ends_with_the_same_weights(tiny, toy_train, toy_dev, toy_test, tmp_path):
    class Stops(Noisy):
        def loss(self, classifier, batch):
            if batch.progress > 0.5:
                raise KeyboardInterrupt
            return super().loss(classifier, batch)

    stopped = load_classifier(tiny("encoder"))
    with pytest.raises(KeyboardInterrupt):
        finetune(stopped, toy_train, spec(epochs=3), dev=toy_dev, workdir=tmp_path / "w", objective=Stops())
    resumed, straight = load_classifier(tiny("encoder")), load_classifier(tiny("encoder"))
    result = finetune(resumed, toy_train, spec(epochs=3), dev=toy_dev, workdir=tmp_path / "w", objective=Noisy())
    assert result.resumed_from == 1
    finetune(straight, toy_train, spec(epochs=3), dev=toy_dev, objective=Noisy())
    np.testing.assert_array_equal(resumed.score(toy_test["text"]).values, straight.score(toy_test["text"]).values)
