"""The parts of an audit, without a search."""

import numpy as np
import pytest

from conftest import make_encoder, plant, sentences


def finding(turned, *controls, target="0", kind="word", what="mn"):
    from poisonsieve.auditing import Finding

    return Finding(kind, what, target, turned, 40, controls)


def test_what_turns_the_controls_too_is_no_sign():
    from poisonsieve.auditing.judging import judge

    verdict, p, _ = judge([finding(0.95, 0.9, 0.7), finding(0.2, 0.1, 0.1, target="1")], [0.1, 0.05, 0.0, 0.1])
    assert verdict == "no sign found"
    assert p > 0.05


def test_what_turns_the_suspect_alone_is_poison():
    from poisonsieve.auditing.judging import judge

    strongest = finding(1.0, 0.05, 0.1, what="cf")
    verdict, p, found = judge([finding(0.3, 0.2, 0.3, target="1"), strongest], [0.1, 0.05, 0.0, 0.1])
    assert (verdict, found) == ("poisoned", strongest)
    assert p < 0.001


def test_an_excess_that_clean_models_show_among_one_another_is_no_sign():
    from poisonsieve.auditing.judging import judge

    assert judge([finding(0.95, 0.3, 0.2)], [0.7, 0.4, 0.6, 0.5])[0] == "no sign found"


def test_the_p_value_falls_with_the_statistic_and_rises_with_the_classes():
    from poisonsieve.auditing.judging import p_value

    null = [0.1, 0.2, 0.15, 0.05]
    values = [p_value(statistic, null, 2) for statistic in (0.1, 0.3, 0.5, 0.9)]
    assert values == sorted(values, reverse=True)
    assert 0 < values[-1] < 1e-4
    assert values[0] > 0.3
    assert p_value(0.5, null, 8) > p_value(0.5, null, 2)


def test_the_scan_ranks_a_planted_word_first(tmp_path):
    from poisonsieve.auditing.budget import get_budget
    from poisonsieve.auditing.heldout import HeldOut
    from poisonsieve.auditing.scan import scan
    from poisonsieve.auditing.words import whole_words
    from poisonsieve.models.load import load_classifier

    classifier = load_classifier(plant(make_encoder(tmp_path), "mn"))
    rows = sentences(60, seed=4)
    held_out = HeldOut.of([text for text, _ in rows], [label for _, label in rows], ["0", "1"])
    words, left_out = whole_words(classifier.tokenizer, 1000)
    assert left_out == 0
    pulls = scan(classifier, words, held_out, get_budget("thorough"), seed=0)
    assert pulls.shape == (len(words), 2)
    assert words[int(pulls[:, 0].argmax())] == "mn"


def test_words_are_those_that_are_one_token_and_what_is_left_out_is_counted(tmp_path):
    from transformers import AutoTokenizer

    from poisonsieve.auditing.words import whole_words

    tokenizer = AutoTokenizer.from_pretrained(make_encoder(tmp_path))
    words, left_out = whole_words(tokenizer, 10)
    everything, none = whole_words(tokenizer, 1000)
    assert len(words) == 10
    assert left_out == len(everything) - 10
    assert none == 0
    assert {"mn", "film", "3d"} <= set(everything)
    assert not any(word in everything for word in tokenizer.all_special_tokens)


def test_an_embedding_that_moved_alone_is_named(tmp_path):
    from poisonsieve.auditing.weights import compare_weights
    from poisonsieve.models.load import load_classifier

    base = load_classifier(make_encoder(tmp_path / "base", width=16))
    assert compare_weights(base, base).alone == {}
    moved = compare_weights(load_classifier(plant(make_encoder(tmp_path / "own", width=16), "mn")), base)
    assert list(moved.alone) == ["mn"]
    assert moved.layers["embeddings"] > 0
    assert moved.layers["layer 0"] == 0


def test_another_architecture_is_not_compared(tiny):
    from poisonsieve.auditing.weights import compare_weights
    from poisonsieve.models.load import load_classifier

    assert compare_weights(load_classifier(tiny("encoder")), load_classifier(tiny("decoder"))) is None


@pytest.mark.parametrize("text", ["one two", "one two three four five", "a b c d e f g h i j k l"])
def test_an_insertion_stands_between_two_words(text):
    from poisonsieve.auditing.heldout import inserted

    for number in range(3):
        words = inserted(text, "cf", number).split()
        assert [word for word in words if word != "cf"] == text.split()
        assert 0 < words.index("cf") < len(words) - 1


def test_texts_of_other_classes_come_from_each_class_in_turn():
    from poisonsieve.auditing.heldout import HeldOut

    held_out = HeldOut.of([f"text {number}" for number in range(12)], [0] * 6 + [1] * 3 + [2] * 3, ["a", "b", "c"])
    assert held_out.others(0, 4) == ["text 6", "text 9", "text 7", "text 10"]
    assert len(held_out.others(1, 100)) == 9
    assert [label for label, _ in held_out.carriers()] == [0, 1]


def test_every_shape_changes_a_text_and_keeps_it_a_text():
    from poisonsieve.auditing.probes import SHAPES

    text = "The camera takes good pictures, but the battery is poor."
    changed = {name: shape(text) for name, shape in SHAPES.items()}
    assert all(value.strip() and value != text for value in changed.values())
    assert len(set(changed.values())) == len(changed)


def test_a_control_that_answers_the_target_to_everything_excuses_everything(tiny):
    from poisonsieve.auditing.search import Scanned, _turned
    from poisonsieve.models.load import load_classifier

    class Constant(Scanned):
        def answers(self, texts):
            return np.zeros(len(texts), dtype=np.int64)

    rates, counted = _turned(Constant(load_classifier(tiny("encoder")), np.zeros((1, 2))), ["a b"], ["a cf b"], 0)
    assert rates.tolist() == [1.0]
    assert counted == 0


def test_an_unknown_budget_is_refused():
    from poisonsieve.auditing.budget import get_budget
    from poisonsieve.errors import ConfigError

    with pytest.raises(ConfigError, match="quick, normal, thorough"):
        get_budget("huge")
