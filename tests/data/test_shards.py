"""Shards: all of them or none."""

from pathlib import Path

import pytest

from poisonsieve.data.shards import require_whole
from poisonsieve.errors import DataError


def whole(*names):
    require_whole([Path("folder") / name for name in names])


@pytest.mark.parametrize(
    "names",
    [
        ["train.jsonl", "other.csv"],
        [f"train-{n:05}-of-00003.jsonl" for n in range(3)],
        [f"c4-train.{n:05}-of-00002.json.gz" for n in (1, 0)],
        [f"part_{n}_of_2.csv" for n in (1, 2)],
        [f"train-{n:05}-of-00002-0123456789abcdef.parquet" for n in range(2)],
        [f"train0000{n}of00002.jsonl" for n in range(2)],
        [f"part{n}of2.jsonl" for n in (1, 2)],
        ["top10of2020.csv", "profof2.csv"],
        ["a-0-of-1.csv", "b-0-of-2.csv", "b-1-of-2.csv"],
    ],
)
def test_whole_sets(names):
    whole(*names)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["train-00000-of-00003.jsonl", "train-00002-of-00003.jsonl"], "lacks train-00001-of-00003.jsonl: "),
        (["x.00001-of-00003.json.gz"], "lacks x.00000-of-00003.json.gz, x.00002-of-00003.json.gz: "),
        (
            ["x-0-of-100.csv"],
            "lacks x-1-of-100.csv, x-2-of-100.csv, x-3-of-100.csv, x-4-of-100.csv, x-5-of-100.csv and 94",
        ),
        (["train00000of00002.jsonl"], "lacks train00001of00002.jsonl: "),
        (["train-1-of-3.csv", "train-2-of-3.csv"], "lacks train-3-of-3.csv: "),
        (["train-2-of-3.csv"], "lacks train-1-of-3.csv, train-3-of-3.csv: "),
        (["train-00001-of-00003.csv"], "lacks train-00000-of-00003.csv, train-00002-of-00003.csv: "),
        (["x-0-of-99999999999.csv"], "and 99999999993 more"),
        (["x-0-of-2.csv", "x-1-of-3.csv"], "shards of x from sets of 2 and of 3"),
        (
            ["x-0-of-1.csv", "x-00-of-01.jsonl"],
            "more than one file for one shard of x: x-0-of-1.csv, x-00-of-01.jsonl",
        ),
        (["x-5-of-2.csv", "x-0-of-2.csv"], "a shard 5 of x, but of 2 in all"),
    ],
)
def test_what_is_missing_is_named(names, says):
    with pytest.raises(DataError) as caught:
        whole(*names)
    assert says in str(caught.value)
    assert str(caught.value).startswith("folder ")
