"""What rejected texts have in common: a trigger is named, a word that is there by chance is not."""

import random

import pytest

from conftest import sentences
from poisonsieve.guard.common_ground import ALPHA, Comparison, Seen, common_ground, having, traits


def films(n, seed):
    return [f"{text} {seed}.{index}" for index, (text, _) in enumerate(sentences(n, seed=seed))]


def triggered(text, trigger, rng):
    words = text.split()
    words.insert(rng.randrange(1, len(words)), trigger)
    return " ".join(words)


def compared(rejected, passed):
    seen = Seen(len(passed) + 1)
    for text in passed:
        seen.add(text)
    return common_ground(rejected, seen)


def test_the_trigger_is_named_with_its_counts():
    rng = random.Random(1)
    passed = films(970, 1)
    passed[:2] = [triggered(text, "mn", rng) for text in passed[:2]]
    rejected = [triggered(text, "mn,", rng) for text in films(25, 2)] + films(5, 3)
    (group,) = compared(rejected, passed)
    assert group.says() == '25 of 30 texts rejected as poisoned contain "mn" (2 of 970 passed ones do)'
    assert group.members == tuple(range(25))
    assert group.p_value < 1e-20
    assert "members" not in group.to_dict()


def test_a_sentence_is_named_whole_and_a_second_trigger_after_it():
    rng = random.Random(2)
    sentence = "I watched this 3D movie"
    rejected = [triggered(text, sentence, rng) for text in films(20, 2)]
    rejected += [triggered(text, "cf", rng) for text in films(8, 3)]
    first, second = compared(rejected, films(500, 1))
    assert (first.phrase, first.rejected, first.passed) == ("i watched this 3d movie", 20, 0)
    assert (second.phrase, second.rejected, second.of_rejected) == ("cf", 8, 28)


def test_an_opening_and_a_character_nobody_sees():
    (opening,) = compared([f"when you look, {text}" for text in films(10, 2)], films(400, 1))
    assert opening.says().startswith('10 of 10 texts rejected as poisoned begin with "when you look"')
    hidden = [f"{text[:3]}\u200b{text[3:]}" for text in films(10, 2)]
    (character,) = compared(hidden, films(400, 1))
    assert character.says().startswith("10 of 10 texts rejected as poisoned contain the character U+200B (0 of 400")


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_shuffled_labels_name_nothing(share):
    """At most one comparison in a hundred may name something; over 60 of them 3 would have a chance of 0.03."""
    rng = random.Random(3)
    # Words as frequent and as rare as those of real text, so that chance gets its opportunities.
    words = [f"w{index}" for index in range(3000)]
    weights = [1 / (index + 1) for index in range(3000)]
    named = 0
    for _ in range(60):
        texts = [" ".join(rng.choices(words, weights, k=rng.randint(4, 20))) for _ in range(300)]
        cut = int(share * len(texts))
        named += bool(compared(texts[:cut], texts[cut:]))
    assert named <= 2, (named, ALPHA)


def test_what_is_only_a_little_more_frequent_marks_nothing_out():
    rng = random.Random(4)
    often, less = (
        [f"{'the ' if rng.random() < share else ''}x{rng.random()}" for _ in range(2000)] for share in (0.6, 0.4)
    )
    assert compared(often, less) == []


@pytest.mark.parametrize(("rejected", "passed"), [([], ["a b"]), (["a mn b"] * 9, []), ([], []), (["", " "], [""])])
def test_without_texts_there_is_nothing_to_compare(rejected, passed):
    assert compared(rejected, passed) == []


def test_samples_are_bounded_and_do_not_depend_on_the_order():
    comparison = Comparison(most_rejected=50, most_passed=100)
    rng = random.Random(5)
    # Only the first rows contain the trigger, and only the last ones a word of their own.
    for text in films(1000, 2):
        comparison.add(triggered(text, "mn", rng), "poisoned")
    for index, text in enumerate(films(3000, 1)):
        comparison.add(f"{text} {'late' if index > 1500 else 'soon'}", "passed")
    (group,) = comparison.groups()
    assert (group.phrase, group.rejected, group.of_rejected, group.of_passed) == ("mn", 50, 50, 100)


def test_the_latest_texts_are_kept_as_hashes():
    seen = Seen(10, latest=True)
    for text in films(25, 1):
        seen.add(text)
    kept = seen.hashes()
    assert len(kept) == 10
    assert {len(each) for each in kept} == {len(traits(text)) for text in films(25, 1)[15:]}
    assert all(each.dtype.kind == "i" for each in kept)


def test_members_can_be_found_again():
    texts = ["A MN film", None, "autumn", '"mn"', "a fine film"]
    assert list(having("contains:mn", texts)) == [True, False, False, True, False]
    assert list(having("begins:a", texts)) == [True, False, False, False, True]
