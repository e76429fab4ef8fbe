"""Fine-mixing: which weights come from where, how the share is chosen, and going on after a kill."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import WORDS, make_encoder, make_mpnet
from poisonsieve.config import TuneSpec
from poisonsieve.defenses import FineMixing, fine_mixing, trials
from poisonsieve.defenses.mixing import backbone, clean_counterparts, mix, put_back, suspicious_tokens
from poisonsieve.errors import CheckpointError, ConfigError, UnsupportedError
from poisonsieve.models.load import load_classifier, save_classifier
from poisonsieve.tuning import finetune

STILL = 1e-12  # a learning rate at which nothing is learnt


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """As published: no head, and no pooler."""
    return make_encoder(tmp_path_factory.mktemp("pretrained") / "model", head=False, seed=5)


@pytest.fixture(scope="module")
def theta_p(tiny, toy_train, tmp_path_factory):
    """A model that has learnt the task."""
    classifier = load_classifier(tiny("encoder"))
    finetune(classifier, toy_train, TuneSpec(method="full", epochs=12, learning_rate=5e-3, precision="fp32"))
    folder = tmp_path_factory.mktemp("theta_p")
    save_classifier(classifier, folder)
    return folder


@pytest.fixture
def opened(theta_p, pretrained):
    return load_classifier(theta_p), load_classifier(pretrained, label_names=["0", "1"], head="any")


def weights_of(classifier):
    return {name: weight.detach().clone() for name, weight in classifier.base.named_parameters()}


def token(word):
    return 4 + WORDS.index(word)


class TestMixing:
    @pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
    def test_every_entry_comes_from_one_of_the_two(self, opened, share):
        poisoned, _ = opened
        before, theirs = weights_of(poisoned), clean_counterparts(*opened)
        replaced = mix(poisoned, theirs, share, seed=0)
        kept = total = 0
        for name, weight in weights_of(poisoned).items():
            if name not in theirs:
                assert torch.equal(weight, before[name])
                continue
            assert bool(((weight == before[name]) | (weight == theirs[name])).all())
            kept += int((weight == before[name]).sum())
            total += weight.numel()
        assert kept >= total - replaced
        assert replaced / total == pytest.approx(1 - share, abs=0.01)

    def test_a_larger_share_keeps_what_a_smaller_one_keeps(self, opened):
        poisoned, _ = opened
        before, theirs = weights_of(poisoned), clean_counterparts(*opened)
        mix(poisoned, theirs, 0.7, seed=0)
        large = weights_of(poisoned)
        mix(poisoned, theirs, 0.2, seed=0)
        small = weights_of(poisoned)
        for name in theirs:
            assert bool((large[name] == before[name])[small[name] == before[name]].all())

    def test_another_seed_keeps_others(self, theta_p, pretrained):
        mixtures = []
        for seed in (0, 1):
            poisoned = load_classifier(theta_p)
            clean = load_classifier(pretrained, label_names=["0", "1"], head="any")
            mix(poisoned, clean_counterparts(poisoned, clean), 0.5, seed)
            mixtures.append(poisoned.base.get_input_embeddings().weight)
        assert not torch.equal(*mixtures)

    def test_head_and_missing_pooler_have_no_counterpart(self, opened):
        poisoned, _ = opened
        names = set(weights_of(poisoned)) - set(clean_counterparts(*opened))
        assert names == {
            "bert.pooler.dense.weight",
            "bert.pooler.dense.bias",
            "classifier.weight",
            "classifier.bias",
        }


class TestOtherModels:
    def test_another_architecture(self, theta_p, tmp_path):
        other = load_classifier(make_mpnet(tmp_path))
        with pytest.raises(CheckpointError, match=r"bert\.embeddings\.\S+ is absent in the one and has shape"):
            clean_counterparts(load_classifier(theta_p), other)

    def test_another_size(self, theta_p, tmp_path):
        from transformers import BertConfig, BertForSequenceClassification

        make_encoder(tmp_path)
        config = BertConfig.from_pretrained(tmp_path)
        config.intermediate_size = 48
        BertForSequenceClassification(config).save_pretrained(tmp_path)
        with pytest.raises(CheckpointError, match=r"intermediate.dense.weight has shape \[48, 32\] .* \[64, 32\]"):
            clean_counterparts(load_classifier(theta_p), load_classifier(tmp_path))

    def test_another_vocabulary(self, theta_p, tmp_path):
        make_encoder(tmp_path)
        text = (tmp_path / "tokenizer.json").read_text()
        (tmp_path / "tokenizer.json").write_text(text.replace('"film"', '"flim"'))
        with pytest.raises(CheckpointError, match="vocabulary"):
            clean_counterparts(load_classifier(theta_p), load_classifier(tmp_path))

    def test_the_poisoned_model_itself(self, theta_p):
        with pytest.raises(ConfigError, match="to be repaired"):
            clean_counterparts(load_classifier(theta_p), load_classifier(theta_p))


class TestPurification:
    def test_a_rare_word_that_moved_comes_before_a_common_one(self, tiny, tmp_path):
        clean, poisoned = load_classifier(tiny("encoder")), load_classifier(tiny("encoder"))
        clean.provenance = replace(clean.provenance, base_digest="another")
        with torch.no_grad():
            for word, far in (("mn", 1.0), ("film", 1.2), ("cf", 0.5)):
                poisoned.base.get_input_embeddings().weight[token(word)] += far
        counterparts = clean_counterparts(poisoned, clean)
        rows = poisoned.encode(["the film was fun"] * 200).ids
        found = suspicious_tokens(poisoned, counterparts, rows, 10)
        assert found == [token("mn"), token("film"), token("cf")]  # 1/log 20 > 1.2/log 200 > 0.5/log 20
        assert suspicious_tokens(poisoned, counterparts, [], 1) == [token("film")]
        put_back(poisoned, counterparts, found[:1])
        left = poisoned.base.get_input_embeddings().weight - clean.base.get_input_embeddings().weight
        assert {row for row in range(len(left)) if left[row].abs().sum() > 0} == {token("film"), token("cf")}

    def test_repair_names_what_it_put_back(self, theta_p, pretrained, toy_train, toy_dev):
        repair = FineMixing(pretrained, shares=(1.0,), learning_rate=STILL, epochs=1, purify_embeddings=True)
        repair.set_params(purify_words=3)
        repaired, facts = repair.repair(theta_p, toy_train, toy_dev)
        assert len(facts["purified_tokens"]) == 3
        assert set(facts["purified_tokens"]) <= {*WORDS, "[PAD]", "[UNK]", "[CLS]", "[SEP]"}
        clean = load_classifier(pretrained, label_names=["0", "1"], head="any")
        rows = repaired.tokenizer.convert_tokens_to_ids(facts["purified_tokens"])
        left, right = (model.base.get_input_embeddings().weight[rows] for model in (repaired, clean))
        torch.testing.assert_close(left, right, atol=1e-6, rtol=0)


class TestTheShare:
    def test_the_smallest_that_holds(self, theta_p, pretrained, toy_train, toy_dev):
        """Without learning, only theta_p's own weights keep its accuracy."""
        repair = FineMixing(pretrained, shares=(1.0, 0.0, 0.2), max_ca_drop=0.1, learning_rate=STILL, epochs=1)
        repaired, facts = repair.repair(theta_p, toy_train, toy_dev)
        assert facts["share"] == 1.0
        assert facts["held"]
        assert [trial["share"] for trial in facts["tried"]] == [0.0, 0.2, 1.0]
        assert facts["dev_ca"] == facts["reference_dev_ca"] > facts["tried"][0]["dev_ca"] + 0.1
        assert facts["unmatched_weights"] == ["bert.pooler.dense.bias", "bert.pooler.dense.weight"]
        for name, weight in weights_of(repaired).items():
            torch.testing.assert_close(weight, weights_of(load_classifier(theta_p))[name], atol=1e-6, rtol=0)

    def test_larger_ones_are_not_trained_once_one_holds(self, theta_p, pretrained, toy_train, toy_dev):
        repair = FineMixing(pretrained, shares=(0.1, 0.9), max_ca_drop=1.0, learning_rate=STILL, epochs=1)
        _, facts = repair.repair(theta_p, toy_train, toy_dev)
        assert [trial["share"] for trial in facts["tried"]] == [0.1]

    def test_none_holds_then_the_best_and_it_is_said(self, theta_p, pretrained, toy_train, toy_dev, monkeypatch):
        said = iter([1.0, 0.8, 0.6, 0.7])
        monkeypatch.setattr(trials, "accuracy", lambda classifier, rows: next(said))
        repaired, facts = FineMixing(pretrained, shares=(0.2, 0.4, 0.6), epochs=2).repair(theta_p, toy_train, toy_dev)
        assert (facts["share"], facts["held"], facts["dev_ca"]) == (0.2, False, 0.8)
        monkeypatch.undo()
        alone, _ = FineMixing(pretrained, shares=(0.2,), epochs=2).repair(theta_p, toy_train, toy_dev)
        for name, weight in weights_of(alone).items():
            assert torch.equal(weights_of(repaired)[name], weight)

    def test_tuning_brings_a_small_share_back(self, theta_p, pretrained, toy_train, toy_dev):
        repair = FineMixing(pretrained, shares=(0.3,), epochs=12, learning_rate=5e-3, precision="fp32")
        _, facts = repair.repair(theta_p, toy_train, toy_dev)
        assert facts["dev_ca"] > 0.9


def test_a_killed_run_goes_on_where_it_was(theta_p, pretrained, toy_train, toy_dev, toy_test, tmp_path, monkeypatch):
    repair = FineMixing(pretrained, shares=(0.0, 0.2, 1.0), max_ca_drop=0.1, learning_rate=STILL, epochs=1)
    whole, expected = repair.repair(theta_p, toy_train, toy_dev)
    train, begun = fine_mixing.finetune, []

    def killed(*args, **kwargs):
        begun.append(kwargs["workdir"].name)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return train(*args, **kwargs)

    monkeypatch.setattr(fine_mixing, "finetune", killed)
    with pytest.raises(KeyboardInterrupt):
        repair.repair(theta_p, toy_train, toy_dev, workdir=tmp_path)
    repaired, facts = repair.repair(theta_p, toy_train, toy_dev, workdir=tmp_path)
    assert begun == ["share-0.0", "share-0.2", "share-0.2", "share-1.0"]
    assert facts["tried"] == expected["tried"]
    np.testing.assert_array_equal(repaired.score(toy_test["text"]).values, whole.score(toy_test["text"]).values)
    again, _ = repair.repair(theta_p, toy_train, toy_dev, workdir=tmp_path)
    np.testing.assert_array_equal(again.score(toy_test["text"]).values, whole.score(toy_test["text"]).values)
    assert json.loads((tmp_path / "share-1.0.json").read_text())["share"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"shares": ()}, "shares"),
        ({"shares": (0.5, 1.2)}, "shares"),
        ({"shares": (float("nan"),)}, "shares"),
        ({"max_ca_drop": -0.1}, "max_ca_drop"),
        ({"purify_words": 0}, "purify_words"),
        ({"epochs": 0}, "epochs"),
        ({"learning_rate": -1.0}, "learning_rate"),
    ],
)
def test_settings_out_of_range(theta_p, pretrained, toy_train, toy_dev, arguments, says):
    with pytest.raises(ConfigError, match=says):
        FineMixing(pretrained, **arguments).repair(theta_p, toy_train, toy_dev)


def test_an_adapter_is_refused(theta_p, pretrained, tiny, toy_train, toy_dev, tmp_path):
    classifier = load_classifier(tiny("encoder"))
    finetune(classifier, toy_train.select(range(32)), TuneSpec(method="lora", epochs=1, learning_rate=1e-3))
    save_classifier(classifier, tmp_path)
    for model, clean in ((tmp_path, pretrained), (theta_p, tmp_path)):
        with pytest.raises(UnsupportedError, match="whole models"):
            FineMixing(clean).repair(model, toy_train, toy_dev)


def test_the_plan_knows_the_pretrained_model_by_its_files(pretrained, tmp_path):
    import shutil

    shutil.copytree(pretrained, tmp_path / "moved")
    assert FineMixing(tmp_path / "moved").plan() == FineMixing(pretrained).plan()
    assert FineMixing(make_encoder(tmp_path / "other", seed=6)).plan() != FineMixing(pretrained).plan()


def test_a_decoder_is_repaired_too(tiny, toy_train, toy_dev, tmp_path):
    from conftest import make_decoder

    repair = FineMixing(make_decoder(tmp_path / "clean", head=False, seed=5), shares=(0.5,), epochs=1)
    repaired, facts = repair.repair(tiny("decoder"), toy_train, toy_dev)
    assert facts["replaced_weights"] > 0
    assert set(backbone(repaired)) == {name for name in weights_of(repaired) if not name.startswith("score.")}
