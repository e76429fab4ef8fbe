"""A tuning from outside: one function and one decorator, known wherever a tuning is named."""

import pytest

from poisonsieve import PSIM, Guard, registry
from poisonsieve.config import TuneSpec
from poisonsieve.errors import ConfigError
from poisonsieve.models.load import load_classifier, save_classifier
from poisonsieve.tuning import finetune, supported_tunings, tune_spec, tuning


@pytest.fixture
def bias_only():
    with registry.scratch():

        @tuning("bias-only", rates=(1e-3, 2e-3, 3e-3), epochs=4, psim_rate=5e-3)
        def attach(network, spec, extra):
            """The biases and the head are trained."""
            for name, weights in network.named_parameters():
                inside = name.startswith(f"{network.base_model_prefix}.")
                weights.requires_grad_(not inside or name.endswith(".bias"))
            return network

        yield "bias-only"


def test_it_is_trained_saved_and_opened(bias_only, tiny, toy_train, toy_test, tmp_path):
    classifier = load_classifier(tiny("encoder"))
    finetune(classifier, toy_train, TuneSpec(method=bias_only, epochs=1, learning_rate=1e-2))
    trained = [name for name, weights in classifier.network.named_parameters() if weights.requires_grad]
    assert trained
    assert all(name.endswith("bias") or name.startswith("classifier") for name in trained)
    save_classifier(classifier, tmp_path)
    texts = list(toy_test["text"])
    assert load_classifier(tmp_path).score(texts).values == pytest.approx(classifier.score(texts).values, abs=1e-6)
    assert bias_only in supported_tunings(load_classifier(tiny("encoder")))


def test_its_defaults_are_taken(bias_only, tiny, toy_train):
    assert [tune_spec(bias_only, hidden_size=width).learning_rate for width in (384, 768, 1024)] == [1e-3, 2e-3, 3e-3]
    assert tune_spec(bias_only, hidden_size=384).epochs == 4
    with pytest.raises(ConfigError, match="the paper has no settings for bias-only"):
        tune_spec(bias_only, hidden_size=384, preset="paper")
    guard = Guard(PSIM(tiny("encoder"), method=bias_only), frr=0.1).fit(toy_train)
    assert guard.detector.spec_.learning_rate == 5e-3


def test_the_commands_know_it(bias_only, cli, tiny, write_jsonl, toy_train, tmp_path):
    data = write_jsonl("clean.jsonl", toy_train)
    assert "The biases and the head are trained." in cli("list")[1]
    code, _, err = cli(
        "tune", "--model", tiny("encoder"), "--data", data, "--method", bias_only, "--out", tmp_path / "v"
    )
    assert code == 0, err
    code, _, err = cli(
        *(
            "fit",
            "--model",
            tiny("encoder"),
            "--data",
            data,
            "--method",
            bias_only,
            "--frr",
            0.1,
            "--out",
            tmp_path / "g",
        )
    )
    assert code == 0, err
