"""The training loop beyond what every tuning keeps to."""

import numpy as np
import pytest

from conftest import dataset, make_mpnet
from poisonsieve.config import TuneSpec
from poisonsieve.errors import DataError, UnsupportedError
from poisonsieve.models import load_classifier
from poisonsieve.tuning import finetune, supported_tunings
from poisonsieve.tuning.trainer import pick_precision


def spec(**changes):
    return TuneSpec(**{"method": "lora", "epochs": 1, "learning_rate": 1e-2, "precision": "fp32", **changes})


# A random encoder learns nothing by prompts alone; a random decoder does.
LEARNERS = [("encoder", "full"), ("encoder", "lora")]
LEARNERS += [("decoder", name) for name in ("full", "lora", "prompt_tuning", "p_tuning_v1", "p_tuning_v2")]


@pytest.mark.parametrize(("kind", "method"), LEARNERS)
def test_the_best_epoch_on_dev_is_kept(kind, method, tiny, toy_train, toy_dev):
    """The dev labels are turned around, so that the more is learned the worse it gets."""
    import datasets

    toy_dev = datasets.Dataset.from_dict(
        {"text": list(toy_dev["text"]), "label": [1 - label for label in toy_dev["label"]]}, features=toy_dev.features
    )
    classifier = load_classifier(tiny(kind))
    rate = 3e-3 if method == "full" else 3e-2
    result = finetune(classifier, toy_train, spec(method=method, epochs=6, learning_rate=rate), dev=toy_dev)
    assert len(result.epochs) == 6
    assert max(result.epochs) > result.epochs[-1], "the last epoch is the best, so this shows nothing"
    assert result.best_epoch == 1 + result.epochs.index(max(result.epochs))
    predictions = classifier.score(toy_dev["text"]).values.argmax(axis=1)
    assert np.mean(predictions == np.array(toy_dev["label"])) == pytest.approx(max(result.epochs))


def test_it_learns(tiny, toy_train, toy_dev, toy_test):
    classifier = load_classifier(tiny("encoder"))
    finetune(classifier, toy_train, spec(method="full", epochs=12, learning_rate=3e-3), dev=toy_dev)
    predictions = classifier.score(toy_test["text"]).values.argmax(axis=1)
    assert np.mean(predictions == np.array(toy_test["label"])) > 0.9


def test_bf16_training_leaves_scoring_in_fp32(tiny, toy_train, toy_test):
    import torch

    classifier = load_classifier(tiny("encoder"))
    result = finetune(classifier, toy_train, spec(precision="bf16"))
    assert result.precision == "bf16"
    assert {parameter.dtype for parameter in classifier.parameters()} == {torch.float32}
    rows = classifier.encode(list(toy_test["text"][:4])).ids
    assert classifier(**classifier.pad(rows))["logits"].dtype == torch.float32
    values = classifier.score(toy_test["text"]).values
    # bf16 has 8 bits of mantissa: values that came through it would be rounded to them.
    assert not np.array_equal(values, torch.tensor(values).bfloat16().double().numpy())


def test_precision_can_be_asked_for():
    assert pick_precision("fp32") == "fp32"
    assert pick_precision("bf16") == "bf16"
    assert pick_precision("auto") in ("fp32", "bf16")


def test_a_label_without_a_class(tiny):
    rows = dataset([("a film", 0), ("a plot", 1), ("a scene", 2)], names="abc")
    with pytest.raises(DataError, match="0 to 2"):
        finetune(load_classifier(tiny("encoder")), rows, spec())


def test_no_rows(tiny, toy_train):
    with pytest.raises(DataError, match="no training rows"):
        finetune(load_classifier(tiny("encoder")), toy_train.select([]), spec())


def test_truncated_rows_are_counted(tiny):
    rows = dataset([("good film " * 100, 0), ("bad film", 1), ("dull film " * 100, 1)])
    assert finetune(load_classifier(tiny("encoder")), rows, spec()).truncated_rows == 2


@pytest.mark.parametrize(("kind", "trained"), [("encoder", 4), ("decoder", 2)])
def test_empty_and_one_word_rows(kind, trained, tiny):
    """A decoder's empty text has no tokens, so there is nothing to train on; an encoder's has its special ones."""
    rows = dataset([("", 0), ("good", 1), ("bad film", 0), ("", 1)])
    classifier = load_classifier(tiny(kind))
    before = classifier.score(["good"]).values
    result = finetune(classifier, rows, spec(batch_size=2, epochs=3))
    assert result.train_rows == trained
    after = classifier.score(["good"]).values
    assert np.isfinite(after).all()
    assert not np.allclose(after, before)


def test_an_architecture_without_prefixes_names_what_it_can_do(tmp_path, toy_train):
    make_mpnet(tmp_path)
    classifier = load_classifier(tmp_path)
    with pytest.raises(UnsupportedError, match=r"mpnet model cannot do p_tuning_v2; it can do: .*lora") as refused:
        finetune(classifier, toy_train, spec(method="p_tuning_v2"))
    able = supported_tunings(load_classifier(tmp_path))
    assert "p_tuning_v2" not in able
    assert all(name in str(refused.value) for name in able)


def test_it_names_only_tunings_that_have_room_for_as_many_virtual_tokens(tiny, toy_train):
    classifier = load_classifier(tiny("encoder"))
    values = classifier.score(["a good film"]).values
    with pytest.raises(UnsupportedError, match=r"cannot do prompt_tuning; it can do: full, lora \("):
        finetune(classifier, toy_train, spec(method="prompt_tuning", virtual_tokens=45))
    np.testing.assert_array_equal(classifier.score(["a good film"]).values, values)


def test_a_pooler_that_was_not_in_the_checkpoint_is_saved_with_the_adapter(tiny, toy_train, toy_test, tmp_path):
    """A random pooler left out of the adapter would be another random one after loading."""
    from poisonsieve.models import save_classifier

    classifier = load_classifier(tiny("encoder", head=False), label_names=["0", "1"], head="any", seed=7)
    finetune(classifier, toy_train, spec(method="prompt_tuning"))
    save_classifier(classifier, tmp_path)
    np.testing.assert_allclose(
        load_classifier(tmp_path).score(toy_test["text"]).values, classifier.score(toy_test["text"]).values, atol=1e-5
    )
