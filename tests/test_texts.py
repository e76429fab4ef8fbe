"""Texts in whatever a caller has them: each gets its own verdict, or one line says why none is given."""

import subprocess
import sys
from collections import UserList, deque
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import dataset, sentences
from poisonsieve import PSIM, Guard, GuardedClassifier
from poisonsieve.errors import ConfigError, DataError
from poisonsieve.models.load import load_classifier
from poisonsieve.texts import as_texts

TEXTS = st.lists(st.text(max_size=8), min_size=1, max_size=12)


class OldSequence:
    """What has a length and places, and nothing else, as transformers' own wrappers of data sets."""

    def __init__(self, texts):
        self.texts = texts

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, index):
        return self.texts[index]


def shuffled(texts):
    return pd.Series(texts, index=np.random.default_rng(0).permutation(len(texts)))


ORDERED = {
    "list": list,
    "tuple": tuple,
    "deque": deque,
    "user list": UserList,
    "old sequence": OldSequence,
    "generator": lambda texts: (text for text in texts),
    "dict values": lambda texts: dict(enumerate(texts)).values(),
    "object array": lambda texts: np.array([*texts, None], dtype=object)[:-1],
    "string array": lambda texts: np.array(texts, dtype=np.dtypes.StringDType()),
    "Series": pd.Series,
    "shuffled Series": shuffled,
    "filtered Series": lambda texts: pd.Series(["x", "y", *texts])[2:],
    "named Series": lambda texts: pd.Series(texts, index=[f"id{place}" for place in range(len(texts))]),
    "string Series": lambda texts: pd.Series(texts, dtype="string"),
    "index": pd.Index,
    "arrow array": lambda texts: pyarrow.array(texts),
    "arrow chunks": lambda texts: pyarrow.chunked_array([texts[:1], texts[1:]], type=pyarrow.string()),
    "Series with a label called columns": lambda texts: pd.Series(
        texts, index=["columns", "column_names", *range(len(texts))][: len(texts)]
    ),
    "data set column": lambda texts: dataset([(text, 0) for text in texts])["text"],
}
WITHOUT = {
    "set": lambda texts: set(texts),
    "frozenset": lambda texts: frozenset(texts),
    "dict": lambda texts: dict.fromkeys(texts),
    "string": lambda texts: texts[0],
    "bytes": lambda texts: texts[0].encode(),
    "number": lambda texts: 3,
    "none": lambda texts: None,
    "table of strings": lambda texts: np.array([texts]),
    "list of lists": lambda texts: [[text] for text in texts],
    "missing value": lambda texts: pd.Series([*texts, None]),
    "missing string": lambda texts: pd.Series([*texts, pd.NA], dtype="string"),
    "bytes among them": lambda texts: [*texts, b"x"],
    "two columns of one name": lambda texts: pd.DataFrame([[text, text] for text in texts], columns=["text", "text"]),
    "no such column": lambda texts: pd.DataFrame({"review": texts}),
    "both columns": lambda texts: pd.DataFrame({"text": texts, "sentence": texts}),
}


@pytest.mark.parametrize("kind", ORDERED)
@given(texts=TEXTS)
def test_an_order_is_kept(kind, texts):
    found = as_texts(ORDERED[kind](texts))
    assert found == texts
    assert all(type(text) is str for text in found)


@pytest.mark.parametrize("kind", WITHOUT)
def test_what_has_no_order_or_is_no_text_is_refused(kind):
    with pytest.raises(DataError) as refused:
        as_texts(WITHOUT[kind](["a film", "a plot"]))
    assert "\n" not in str(refused.value)


@given(texts=TEXTS)
def test_a_named_column(texts):
    frame = pd.DataFrame({"review": texts, "text": ["other"] * len(texts)}).sample(frac=1, random_state=0)
    assert as_texts(frame, "review") == list(frame["review"])
    assert as_texts(frame) == ["other"] * len(texts)
    rows = dataset([(text, 0) for text in texts]).rename_column("text", "sentence")
    assert as_texts(rows) == as_texts(rows, "sentence") == as_texts(rows.to_iterable_dataset()) == texts


def test_a_data_set_that_streams_rows_and_does_not_know_its_columns():
    import datasets

    rows = datasets.IterableDataset.from_generator(lambda: iter([{"text": "a", "x": 1}, {"text": "b", "x": 2}]))
    assert rows.column_names is None
    assert as_texts(rows) == as_texts(rows, "text") == ["a", "b"]
    with pytest.raises(DataError, match=r"no column 'review'; .*text, x"):
        as_texts(rows, "review")


def test_a_column_that_cannot_be_read():
    rows = dataset([("a", 0)]).with_format("numpy", columns=["label"])
    with pytest.raises(DataError, match="the column 'text' cannot be read"):
        as_texts(rows)
    with pytest.raises(DataError, match="cannot be read from a DataFrame"):
        as_texts(pd.DataFrame([["a", "b"]]), "0")


def test_a_column_of_a_list():
    with pytest.raises(DataError, match="for a data set or a frame"):
        as_texts(["a"], "text")


def test_splits_are_no_texts():
    import datasets

    with pytest.raises(DataError, match=r"splits \(train, test\); choose one"):
        as_texts(datasets.DatasetDict({"train": dataset([("a", 0)]), "test": dataset([("b", 0)])}))


@pytest.fixture(scope="module")
def guarded(tiny):
    """A guard that rejects some of the texts below."""
    guard = Guard(PSIM(tiny("encoder")), frr=0.3).fit(dataset(sentences(160, seed=1)))
    return GuardedClassifier(guard, load_classifier(tiny("encoder")))


@pytest.fixture(scope="module")
def texts():
    return [f"{text} film" for text, _ in sentences(40, seed=5)]


@pytest.mark.parametrize("kind", ORDERED)
def test_verdicts_are_those_of_the_texts_and_the_victim_reads_no_other(kind, guarded, texts, monkeypatch):
    right = guarded.screen(texts)
    rejected = {text for text, verdict in zip(texts, right, strict=True) if verdict.rejected}
    assert 0 < len(rejected) < len(texts)
    read = []
    plain = guarded.victim.score
    monkeypatch.setattr(guarded.victim, "score", lambda asked, **how: (read.extend(asked), plain(asked, **how))[1])
    assert guarded.screen(ORDERED[kind](texts)) == right
    assert not rejected & set(read)
    read.clear()
    assert guarded.answer(ORDERED[kind](texts), guarded.judge(ORDERED[kind](texts))) == right
    assert not rejected & set(read)
    np.testing.assert_array_equal(
        guarded.guard.predict(ORDERED[kind](texts)), [verdict.rejected for verdict in right]
    )


@pytest.mark.parametrize("kind", WITHOUT)
def test_nothing_else_is_screened(kind, guarded):
    odd = WITHOUT[kind]
    for call in (guarded.screen, guarded.judge, guarded.guard.score, guarded.victim.score):
        with pytest.raises(DataError):
            call(odd(["a film", "a plot"]))


def test_frames_and_data_sets_with_a_named_column(guarded, texts):
    right = guarded.screen(texts)
    frame = pd.DataFrame({"review": texts, "text": "nothing to see"}, index=range(100, 140))
    assert guarded.screen(frame, column="review") == right
    assert (
        guarded.screen(dataset([(text, 0) for text in texts]).rename_column("text", "review"), column="review")
        == right
    )


def test_verdicts_are_matched_by_place_whatever_holds_them(guarded, texts):
    """A column of verdicts in a shuffled frame: each text keeps its own."""
    frame = pd.DataFrame({"text": texts})
    frame["verdict"] = guarded.judge(frame["text"])
    mixed = frame.sample(frac=1, random_state=3)
    assert guarded.answer(mixed["text"], mixed["verdict"]) == guarded.screen(list(mixed["text"]))
    for wrong in (None, {"a": 1}, [True] * len(texts), set(range(40)), "x" * 40):
        with pytest.raises(DataError):
            guarded.answer(texts, wrong)


def test_rows_that_could_not_be_read_are_in_order_too(guarded):
    errors = [None, "line 2: not UTF-8", None]
    found = guarded.screen_read(pd.Series(["a film", None, "a plot"], index=[2, 0, 1], dtype=object), errors)
    assert [verdict.reason for verdict in found][1] == "not read: line 2: not UTF-8"
    assert found[2].confidence == pytest.approx(guarded.screen(["a plot"])[0].confidence, abs=1e-6)
    for texts, reasons in (({"a", "b"}, [None, None]), ("ab", [None, None]), (["a"], [None, None]), (["a"], None)):
        with pytest.raises(DataError):
            guarded.screen_read(texts, reasons)


@pytest.mark.parametrize("y", [{0: 1, 1: 0}, {0, 1}, "01", pd.DataFrame({"a": [0], "b": [1]}), 3, [0], [0, -1]])
def test_labels_that_are_not_one_a_text(y, tiny):
    with pytest.raises(DataError):
        Guard(PSIM(tiny("encoder")), frr=0.3).fit(["a film", "a plot"], y)


def test_what_was_prepared_is_by_text():
    from poisonsieve.defenses import Rewriter

    class Upper(Rewriter):
        name = "upper"

        def _rewrite(self, texts, *, progress):
            return [text.upper() for text in texts]

    assert Upper().prepare(text for text in ("a", "b")).by_text == {"a": "A", "b": "B"}
    assert Upper().prepare(pd.DataFrame({"text": ["a"]})).by_text == {"a": "A"}


def test_verdicts_of_other_texts_are_refused(guarded, texts):
    with pytest.raises(DataError, match="39 texts and 40 verdicts"):
        guarded.answer(texts[1:], guarded.judge(texts))


def test_a_frame_to_fit_on(tiny):
    rows = dataset(sentences(120, seed=1))
    frame = rows.to_pandas().sample(frac=1, random_state=0)
    found = Guard(PSIM(tiny("encoder")), frr=0.3).fit(frame)
    wanted = Guard(PSIM(tiny("encoder")), frr=0.3).fit(list(frame["text"]))
    assert found.threshold_ == wanted.threshold_
    with pytest.raises(DataError, match="label 0 is 'good', not a class number"):
        Guard(PSIM(tiny("encoder")), frr=0.3).fit(frame.assign(label="good"))


@pytest.fixture(scope="module")
def task(guarded, tiny):
    import transformers

    import poisonsieve

    poisonsieve.register_pipeline()

    def make(**options):
        folder = str(tiny("encoder"))
        return transformers.pipeline(
            "guarded-text-classification", model=folder, tokenizer=folder, guard=guarded.guard, **options
        )

    return make


def test_the_pipeline_reads_them_alike(task, guarded, texts):
    classify = task()
    right = [verdict.verdict for verdict in guarded.screen(texts)]
    for kind in ORDERED.values():
        assert [answer["verdict"] for answer in classify(kind(texts))] == right
    with pytest.raises(DataError):
        classify(set(texts))


@pytest.mark.parametrize("options", [{"top_k": 1}, {"function_to_apply": "sigmoid"}, {"truncation": True}])
def test_options_that_a_guarded_pipeline_cannot_honour(options, task):
    with pytest.raises(ConfigError, match=f"does not know {next(iter(options))}"):
        task(**options)
    with pytest.raises(ConfigError, match=f"does not know {next(iter(options))}"):
        task()(["a film"], **options)


@pytest.mark.parametrize("changes", [{"id2label": {1: "a", 2: "b"}}, {"problem_type": "multi_label_classification"}])
def test_a_pipeline_around_outputs_that_are_no_classes(changes, guarded, tiny):
    import transformers

    import poisonsieve
    from poisonsieve.errors import CheckpointError

    poisonsieve.register_pipeline()
    network = transformers.AutoModelForSequenceClassification.from_pretrained(tiny("encoder"))
    for key, value in changes.items():
        setattr(network.config, key, value)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny("encoder"))
    with pytest.raises(CheckpointError):
        transformers.pipeline("guarded-text-classification", model=network, tokenizer=tokenizer, guard=guarded.guard)


def test_a_type_checker_finds_what_is_no_list(tmp_path):
    """What happens to work, as a Series does, is found too: a list, a frame or a data set is what is asked for."""
    good = ['["a"]', '("a", "b")', 'frame, column="review"', "frame", 'rows, column="review"', "['a'], progress=True"]
    wrong = ['{"a"}', "(text for text in 'a')", "3", "[3]", '["a"], column="review"', 'frame["text"]', "{'a': 1}"]
    head = (
        "import datasets\nimport pandas as pd\nimport poisonsieve\n"
        "guarded = poisonsieve.GuardedClassifier.from_pretrained('guard')\n"
        "frame = pd.DataFrame()\nrows = datasets.Dataset.from_dict({})\n"
    )
    program = tmp_path / "program.py"
    program.write_text(head + "".join(f"guarded.screen({each})\n" for each in (*good, *wrong)))
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", root / "pyproject.toml", program]
    said = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=root).stdout
    first = head.count("\n") + len(good) + 1
    found = {int(line.split(":")[1]) for line in said.splitlines() if ": error: " in line}
    assert found == set(range(first, first + len(wrong))), said
