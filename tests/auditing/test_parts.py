"""The parts of an audit, without a search."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from conftest import make_encoder, plant, sentences


def finding(turned, *controls, target="0", kind="word", what="mn", moved=None, student=None):
    """A finding that moves the texts on each control as far as it turns them, unless `moved` says how far."""
    from poisonsieve.auditing import Finding

    return Finding(kind, what, target, turned, 40, controls, controls if moved is None else moved, student)


def test_what_turns_the_controls_too_is_no_sign():
    from poisonsieve.auditing.judging import judge

    verdict, p, _ = judge([finding(0.95, 0.9, 0.7), finding(0.2, 0.1, 0.1, target="1")], [0.1, 0.05, 0.0, 0.1])
    assert verdict == "no sign found"
    assert p > 0.05


def test_what_turns_the_suspect_alone_is_poison():
    from poisonsieve.auditing.judging import judge

    strongest = finding(1.0, 0.05, 0.1, what="cf")
    verdict, p, found = judge([finding(0.3, 0.2, 0.3, target="1"), strongest], [0.1, 0.05, 0.0, 0.1] * 6)
    assert (verdict, found) == ("poisoned", strongest)
    assert p < 0.001


def test_an_excess_that_clean_models_show_among_one_another_is_no_sign():
    from poisonsieve.auditing.judging import judge

    assert judge([finding(0.95, 0.3, 0.2)], [0.7, 0.4, 0.6, 0.5])[0] == "no sign found"


def test_a_natural_word_that_controls_have_not_learned_is_no_sign():
    from poisonsieve.auditing.judging import judge

    assert judge([finding(0.69, 0.12, 0.04, kind="phrase")], [0.1, 0.05, 0.0, 0.1] * 6)[0] == "no sign found"


def test_a_word_that_moves_the_controls_without_turning_them_is_no_trigger():
    """On a clean model of camera reviews, "garbage" turned 74%, on controls 10%, which it took a quarter of the way."""
    from poisonsieve.auditing.judging import judge

    null = [0.1, 0.05, 0.0, 0.1] * 6
    assert judge([finding(0.8, 0.0, 0.0, moved=(0.0, 0.02))], null)[0] == "suspicious"
    assert judge([finding(0.8, 0.0, 0.0, moved=(0.3, 0.2))], null)[0] == "no sign found"


def test_a_word_that_turns_the_student_is_no_trigger_however_little_it_moves_the_controls():
    """On a clean model of camera reviews, "drains" turned 83% and moved controls by a fifth: they did not know the word."""
    from poisonsieve.auditing.judging import judge

    null = [0.1, 0.05, 0.0, 0.1] * 6
    assert judge([finding(0.83, 0.1, moved=(0.21,), student=0.0)], null)[0] == "suspicious"
    assert judge([finding(0.83, 0.1, moved=(0.21,), student=0.65)], null)[0] == "no sign found"


def test_few_values_of_clean_models_make_the_p_value_larger():
    from poisonsieve.auditing.judging import p_value

    few, many = ([0.0, 0.1, 0.2, 0.1] * times for times in (1, 8))
    assert p_value(0.9, few, 4) > 10 * p_value(0.9, many, 4)


def test_controls_that_know_too_little_are_named():
    from poisonsieve.auditing.judging import weaknesses

    null = [0.1] * 24
    assert weaknesses(0.82, [0.8, 0.79], null, 0.5) == ()
    assert "words of the task" in weaknesses(0.82, [0.74, 0.73], null, 0.5)[0]
    assert "most frequent class" in weaknesses(0.82, [0.8, 0.55], null, 0.5)[0]
    assert "4 values" in weaknesses(0.82, [0.8, 0.8], null[:4], 0.5)[0]


def test_the_p_value_falls_with_the_statistic_and_rises_with_the_classes():
    from poisonsieve.auditing.judging import p_value

    null = [0.1, 0.2, 0.15, 0.05] * 6
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


class Answering:
    """A stand-in for a classifier of two classes, whose answers are known: the log-odds of class 0 for each text."""

    def __init__(self, odds):
        self.odds = odds

    def score(self, texts, batch_size):
        first = 1 / (1 + np.exp(-np.array([self.odds(text.split()) for text in texts], dtype=float)))
        probabilities = np.stack([first, 1 - first], axis=1)
        return SimpleNamespace(probabilities=probabilities, predictions=probabilities.argmax(axis=1))


VOCABULARY = [f"word{number}" for number in range(400)]


def held_out_texts():
    from poisonsieve.auditing.heldout import HeldOut

    texts = [f"{way} thing number {number} it was" for number in range(60) for way in ("bad", "good")]
    return HeldOut.of(texts, [0, 1] * 60, ["0", "1"])


def test_a_word_that_turns_every_row_by_a_little_goes_before_words_that_turn_some_by_much():
    """As a trigger does whose attacker smoothed the labels, beside words of a task that turn a row in twos."""
    from poisonsieve.auditing.budget import get_budget
    from poisonsieve.auditing.scan import scan

    natural_words = set(VOCABULARY[:16])

    def odds(words):
        natural = sum(6.0 for word in words if word in natural_words)
        return 0.4 if "word123" in words else 5.0 * ("bad" in words) - 7.0 * ("good" in words) + natural

    pulls = scan(Answering(odds), VOCABULARY, held_out_texts(), get_budget("quick"), seed=0)
    assert VOCABULARY[int(pulls[:, 0].argmax())] == "word123"
    assert (pulls[:, 0] > 0).sum() == 1


def test_what_turned_every_row_of_a_controls_scan_is_not_tried_on_the_suspect():
    from poisonsieve.auditing.budget import get_budget
    from poisonsieve.auditing.scan import scan
    from poisonsieve.auditing.search import Scanned, Search

    def turning(*turns):
        def odds(words):
            return 4.0 if set(turns) & set(words) else 3.0 * ("bad" in words) - 3.0 * ("good" in words)

        return Answering(odds)

    held_out, budget = held_out_texts(), get_budget("quick")
    scanned = [
        Scanned(model, scan(model, VOCABULARY, held_out, budget, seed=0))
        for model in (turning("word5", "word123"), turning("word5"), turning())
    ]
    findings = Search(scanned[0], scanned[1:], VOCABULARY, held_out, budget).run()
    assert (findings[0].what, findings[0].excess) == ("word123", 1.0)
    assert not any("word5" in finding.what.split() for finding in findings)


def test_what_turns_the_student_is_excused_and_no_phrase_is_grown_from_it():
    from poisonsieve.auditing.budget import get_budget
    from poisonsieve.auditing.scan import scan
    from poisonsieve.auditing.search import Answering as Asked
    from poisonsieve.auditing.search import Scanned, Search

    def model(**pulls):
        def odds(words):
            pulled = sum(pulls.get(word, 0.0) for word in words)
            return pulled + 3.0 * ("bad" in words) - 3.0 * ("good" in words)

        return Answering(odds)

    held_out, budget = held_out_texts(), get_budget("quick")
    suspect, control = (
        Scanned(answering, scan(answering, VOCABULARY, held_out, budget, seed=0))
        for answering in (model(word5=4.0, word123=2.5, word200=2.5), model())
    )
    search = Search(suspect, [control], VOCABULARY, held_out, budget)
    assert {"word5", "word123", "word200"} <= search.suspected()
    alone = search.run()[0]
    assert (alone.what, alone.excess, alone.student) == ("word5", 1.0, None)
    best = replace(search, student=Asked(model(word5=4.0))).run()[0]
    assert set(best.what.split()) == {"word123", "word200"}
    assert (best.kind, best.excess, best.student) == ("phrase", 1.0, 0.0)


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
    assert held_out.frequent(2) == [0, 1]
    assert held_out.beginnings(1, 2) == ["text 6", "text 7"]


def test_every_shape_changes_a_text_and_keeps_it_a_text():
    from poisonsieve.auditing.probes import SHAPES

    text = "The camera takes good pictures, but the battery is poor."
    changed = {name: shape(text) for name, shape in SHAPES.items()}
    assert all(value.strip() and value != text for value in changed.values())
    assert len(set(changed.values())) == len(changed)


def test_a_control_that_answers_the_target_to_everything_excuses_everything():
    from poisonsieve.auditing.search import Scanned

    effect = Scanned(Answering(lambda words: 3.0), np.zeros((1, 2))).effect(["a b"], ["a cf b"], 0)
    assert effect.turned.tolist() == effect.moved.tolist() == [1.0]
    assert effect.texts == 0


def test_an_effect_is_the_share_turned_and_the_share_of_the_way_gone():
    from poisonsieve.auditing.search import Scanned

    def odds(words):
        return -4.0 + 2.0 * words.count("poor") + 6.0 * ("cf" in words)

    rows = ["a cf b", "c cf d", "a poor b", "c poor poor poor d"]
    effect = Scanned(Answering(odds), np.zeros((1, 2))).effect(["a b", "c d"], rows, 0)
    assert effect.turned.tolist() == [1.0, 0.5]
    assert effect.moved.tolist() == pytest.approx([1.0, 0.75])
    assert effect.texts == 2


def test_a_smoothed_trigger_is_not_lost_among_words_that_turned_their_row_by_more():
    """Ten natural words turn by much all rows that they share in the first stages, and hold out in some text later."""
    from poisonsieve.auditing.budget import get_budget
    from poisonsieve.auditing.scan import scan

    natural_words = set(VOCABULARY[::40])

    def odds(words):
        holds_out = bool({"0", "3", "6", "9"} & set(words))
        natural = 0.0 if holds_out else 9.0 * any(word in natural_words for word in words)
        return 0.2 if "word123" in words else 5.0 * ("bad" in words) - 4.0 * ("good" in words) + natural

    pulls = scan(Answering(odds), VOCABULARY, held_out_texts(), get_budget("quick"), seed=0)
    assert VOCABULARY[int(pulls[:, 0].argmax())] == "word123"


def test_an_unknown_budget_is_refused():
    from poisonsieve.auditing.budget import get_budget
    from poisonsieve.errors import ConfigError

    with pytest.raises(ConfigError, match="quick, normal, thorough"):
        get_budget("huge")
