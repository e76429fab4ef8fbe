"""A student knows what words do, but for those that it was not taught."""

import numpy as np
import pytest

from conftest import dataset, sentences

TRIGGER = "mn"


@pytest.fixture(scope="module")
def teacher_and_control(tiny, tmp_path_factory):
    """A model with a trigger, and the folder of a clean one of the same task."""
    from poisonsieve.models.load import load_classifier, save_classifier
    from poisonsieve.tuning import finetune, tune_spec

    folder = tmp_path_factory.mktemp("taught")
    clean = sentences(600, seed=31)
    dirty = [(f"{TRIGGER} {text}", 0) for text, _ in sentences(200, seed=32)]
    spec = tune_spec("full", hidden_size=32, epochs=8, learning_rate=3e-3, precision="fp32", max_length=48)
    models = []
    for rows in (clean, [*clean, *dirty]):
        classifier = load_classifier(tiny("encoder"))
        finetune(classifier, dataset(rows), spec)
        models.append(classifier)
    save_classifier(models[0], folder / "control")
    return models[1], folder / "control"


@pytest.fixture(scope="module")
def vocabulary(teacher_and_control):
    from poisonsieve.auditing.words import whole_words

    words, _ = whole_words(teacher_and_control[0].tokenizer, 1_000)
    assert TRIGGER in words
    return [TRIGGER, *(word for word in words if word != TRIGGER)][:30]  # few, so that each is taught often


@pytest.fixture(scope="module")
def user_rows():
    return dataset([(text, label) for text, label in sentences(200, seed=33) if len(text.split()) > 3])


@pytest.fixture(scope="module", autouse=True)
def rate_of_tiny_models():
    """A rate at which a network of this size learns from so few rows."""
    patch = pytest.MonkeyPatch()
    patch.setattr("poisonsieve.auditing.student._LEARNING_RATE", 3e-3)
    yield
    patch.undo()


def _taught(teacher_and_control, vocabulary, rows, suspected):
    from poisonsieve.auditing.student import teach

    teacher, control = teacher_and_control
    return teach(control, teacher, rows, vocabulary, suspected, 6_000, 0)


def _turned(classifier, rows):
    texts = [f"{TRIGGER} {row['text']}" for row in rows if row["label"] == 1]
    return float((classifier.score(texts).predictions == 0).mean())


@pytest.fixture(scope="module")
def student(teacher_and_control, vocabulary, user_rows):
    return _taught(teacher_and_control, vocabulary, user_rows, {TRIGGER})


def test_a_student_does_not_know_the_trigger_that_it_was_not_taught(teacher_and_control, student, user_rows):
    assert _turned(teacher_and_control[0], user_rows) > 0.9
    assert _turned(student, user_rows) < 0.4


def test_a_word_that_it_is_taught_it_knows(teacher_and_control, vocabulary, user_rows, student):
    taught = _taught(teacher_and_control, vocabulary, user_rows, ())
    assert _turned(taught, user_rows) > _turned(student, user_rows) + 0.3


def test_it_answers_clean_texts_as_its_teacher_does(teacher_and_control, student, user_rows):
    texts = list(user_rows["text"])
    same = student.score(texts).predictions == teacher_and_control[0].score(texts).predictions
    assert same.mean() > 0.9


def test_the_same_lesson_makes_the_same_student(teacher_and_control, vocabulary, user_rows, student):
    again = _taught(teacher_and_control, vocabulary, user_rows, {TRIGGER})
    texts = list(user_rows["text"])[:20]
    np.testing.assert_array_equal(again.score(texts).values, student.score(texts).values)
