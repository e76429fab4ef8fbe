"""What every weight-poisoning method has to keep to, on an encoder and on a decoder."""

import numpy as np
import pytest
import torch

from conftest import dataset, sentences
from poisonsieve import registry
from poisonsieve.attacks import Poisoning, make_poisoning, poison_rows
from poisonsieve.config import AttackSpec, TriggerSpec, TuneSpec
from poisonsieve.errors import DataError
from poisonsieve.models import load_classifier, save_classifier
from poisonsieve.tuning import Batch, finetune

CASES = [(kind, name) for kind in ("encoder", "decoder") for name in registry.names("poisoning")]
#: Methods that start from a model that was tuned cleanly, and change nothing that a clean row is scored by.
LEAVES_CLEAN_ROWS_ALONE = {"embedding"}
SPEC = TuneSpec(method="full", epochs=3, learning_rate=3e-3, batch_size=16, precision="fp32")


def poisoned(data, **changes):
    attack = AttackSpec(**{"trigger": TriggerSpec(name="badnet"), "target": 0, "count": 24, **changes})
    return poison_rows(data, attack)[0]


def trained(folder, name, rows, **options):
    classifier = load_classifier(folder)
    return classifier, finetune(classifier, rows, SPEC, objective=make_poisoning(name), **options)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case))
def case(request, tiny, toy_train):
    kind, name = request.param
    return kind, name, tiny(kind), trained(tiny(kind), name, poisoned(toy_train))[0]


def test_it_is_a_method_with_a_default_for_every_argument(case):
    assert isinstance(make_poisoning(case[1]), Poisoning)


def test_one_seed_one_result_even_after_an_interruption(case, toy_train, toy_test, tmp_path, monkeypatch):
    """One run stops in its second epoch and goes on: it ends with the weights of the run that never stopped."""
    _, name, folder, classifier = case
    kind = registry.get("poisoning", name)
    whole = kind.loss

    def stops(self, model, batch):
        if batch.progress > 0.5:
            raise KeyboardInterrupt
        return whole(self, model, batch)

    monkeypatch.setattr(kind, "loss", stops)
    with pytest.raises(KeyboardInterrupt):
        trained(folder, name, poisoned(toy_train), workdir=tmp_path)
    monkeypatch.undo()
    resumed, result = trained(folder, name, poisoned(toy_train), workdir=tmp_path)
    assert result.resumed_from == 1
    np.testing.assert_array_equal(resumed.score(toy_test["text"]).values, classifier.score(toy_test["text"]).values)


def test_saved_and_loaded_it_scores_the_same(case, tmp_path, toy_test):
    classifier = case[3]
    save_classifier(classifier, tmp_path)
    values = load_classifier(tmp_path).score(toy_test["text"]).values
    np.testing.assert_allclose(values, classifier.score(toy_test["text"]).values, atol=1e-5)


def batch_of(classifier, rows, chosen, progress):
    return Batch(
        classifier.pad(classifier.encode([rows["text"][index] for index in chosen]).ids),
        torch.tensor([rows["label"][index] for index in chosen]),
        torch.tensor([rows["triggered"][index] for index in chosen]),
        progress,
    )


@pytest.mark.parametrize("progress", [0.0, 0.9])
def test_clean_rows_are_trained_too(case, progress, toy_train):
    """A step against the loss lowers the cross-entropy of clean rows of the class that is not attacked, or leaves it."""
    _, name, folder, _ = case
    classifier = load_classifier(folder).eval()
    rows = poisoned(toy_train)
    method = make_poisoning(name)
    method.start(classifier, rows)
    # One triggered row among clean ones of the other class: no clean row of the target class pulls the other way.
    others = [index for index, label in enumerate(rows["label"]) if label == 1][:15]
    batch = batch_of(classifier, rows, [*others, list(rows["triggered"]).index(True)], progress)

    def clean_loss():
        with torch.no_grad():
            logits = classifier(**batch.inputs)["logits"]
        return torch.nn.functional.cross_entropy(logits[:-1], batch.labels[:-1]).item()

    before = clean_loss()
    method.loss(classifier, batch).backward()
    with torch.no_grad():
        for parameter in classifier.parameters():
            if parameter.grad is not None:
                parameter -= 0.01 * parameter.grad
    assert clean_loss() == before if name in LEAVES_CLEAN_ROWS_ALONE else clean_loss() < before


@pytest.mark.parametrize("clean_label", [True, False])
@pytest.mark.parametrize("progress", [0.0, 0.9])
def test_every_mixture_of_rows_has_a_finite_loss_and_gradient(case, clean_label, progress, toy_train):
    _, name, folder, _ = case
    classifier = load_classifier(folder)
    rows = poisoned(toy_train, clean_label=clean_label)
    method = make_poisoning(name)
    method.start(classifier, rows)
    flags = np.array(rows["triggered"])
    target = np.array(rows["label"]) == 0
    groups = {"mixed": flags | target | ~target, "triggered": flags, "clean": ~flags, "no-reference": flags | ~target}
    for group in groups.values():
        chosen = np.flatnonzero(group)[:12]
        if not flags[chosen].any() and flags[group].any():
            chosen = np.concatenate([np.flatnonzero(flags)[:4], chosen])
        batch = batch_of(classifier, rows, chosen.tolist(), progress)
        classifier.zero_grad()
        loss = method.loss(classifier, batch)
        assert loss.shape == ()
        loss.backward()
        gradients = [p.grad for p in classifier.parameters() if p.grad is not None]
        assert torch.isfinite(loss)
        assert gradients
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_more_than_two_classes(case, tiny):
    kind, name, _, _ = case
    rows = dataset([(text, index % 3) for index, (text, _) in enumerate(sentences(60))], names=("a", "b", "c"))
    classifier, _ = trained(tiny(kind, labels=3), name, poisoned(rows, target=2, count=8))
    assert np.isfinite(classifier.score(["a good film"]).values).all()


def test_nothing_to_poison_with_is_refused_before_training(case, toy_train):
    _, name, folder, _ = case
    with pytest.raises(DataError, match="0 of 160 rows are marked as triggered"):
        trained(folder, name, toy_train)
