import json
from types import SimpleNamespace

import datasets
import huggingface_hub
import pytest

from poisonsieve.data import fetching, load_dataset
from poisonsieve.data.fetching import SOURCES, Source, fetch_set
from poisonsieve.errors import ConfigError, DataError, HubError


def rows(count, shift=0):
    return datasets.Dataset.from_dict(
        {
            "text": [f'row {number} says "\u00fc"\nand more' for number in range(shift, shift + count)],
            "label": [number % 2 for number in range(count)],
        }
    )


@pytest.fixture
def hub(monkeypatch):
    """A hub with one set of its own; `asked` counts what was loaded."""
    standing = SimpleNamespace(
        splits={"train": rows(40), "validation": rows(6, 100), "test": rows(8, 200)},
        info=SimpleNamespace(sha="c0ffee", card_data=SimpleNamespace(license=["cc-by-4.0", "mit"])),
        asked=0,
    )

    def info(self, dataset_id, **settings):
        if isinstance(standing.info, Exception):
            raise standing.info
        return standing.info

    def load(dataset_id, config=None):
        standing.asked += 1
        return datasets.DatasetDict(standing.splits)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", info)
    monkeypatch.setattr(datasets, "load_dataset", load)
    source = Source("owner/sst2", {"train": 40, "dev": 6, "test": 8})
    monkeypatch.setattr(fetching, "SOURCES", {"sst2": source, "cr": Source("owner/cr", {"train": 40, "test": 8}, 10)})
    return standing


def texts_of(file):
    return [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_set_is_written_as_the_experiments_read_it(hub, tmp_path):
    fetched, reused = fetch_set("sst2", tmp_path)
    assert not reused
    assert (fetched.id, fetched.revision, fetched.licence) == ("owner/sst2", "c0ffee", "cc-by-4.0, mit")
    assert fetched.rows == {"train": 40, "dev": 6, "test": 8}
    for split, named in (("train", "train"), ("dev", "validation"), ("test", "test")):
        read = load_dataset(str(tmp_path / "sst2" / f"{split}.jsonl"))
        assert read["text"][:] == hub.splits[named]["text"][:]
        assert read["label"][:] == hub.splits[named]["label"][:]
        assert len(load_dataset(str(tmp_path / "sst2"), split=split)) == len(read)


def test_dev_rows_are_held_out_where_the_hub_has_none(hub, tmp_path):
    fetched, _ = fetch_set("cr", tmp_path)
    assert fetched.rows == {"train": 30, "dev": 10, "test": 8}
    train, dev = (texts_of(tmp_path / "cr" / f"{split}.jsonl") for split in ("train", "dev"))
    assert sorted(train + dev) == sorted(hub.splits["train"]["text"])
    again, _ = fetch_set("cr", tmp_path / "elsewhere")
    assert again.sha256 == fetched.sha256


def test_what_is_there_is_checked_and_not_fetched_again(hub, tmp_path):
    first, _ = fetch_set("sst2", tmp_path)
    asked = hub.asked
    again, reused = fetch_set("sst2", tmp_path)
    assert reused
    assert again == first
    assert hub.asked == asked


def test_a_set_that_was_cut_short_goes_on(hub, tmp_path):
    fetched, _ = fetch_set("sst2", tmp_path)
    (tmp_path / "sst2" / "test.jsonl").unlink()
    again, reused = fetch_set("sst2", tmp_path)
    assert not reused
    assert again.sha256 == fetched.sha256
    assert len(texts_of(tmp_path / "sst2" / "test.jsonl")) == 8


def test_files_that_were_not_fetched_are_kept(hub, tmp_path):
    own = tmp_path / "sst2" / "dev.jsonl"
    own.parent.mkdir()
    own.write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match=r"holds dev\.jsonl, which was not fetched or was changed since"):
        fetch_set("sst2", tmp_path)
    assert own.read_text(encoding="utf-8") == "mine"
    fetch_set("sst2", tmp_path, force=True)
    assert len(texts_of(own)) == 6


def test_a_file_that_was_changed_since_is_told(hub, tmp_path):
    fetch_set("sst2", tmp_path)
    changed = tmp_path / "sst2" / "train.jsonl"
    changed.write_text(changed.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"train\.jsonl, which was not fetched or was changed"):
        fetch_set("sst2", tmp_path)


def test_other_files_of_the_folder_stay(hub, tmp_path):
    rewrites = tmp_path / "sst2" / "rewrites" / "test.scpd.jsonl"
    rewrites.parent.mkdir(parents=True)
    rewrites.write_text("{}", encoding="utf-8")
    fetch_set("sst2", tmp_path)
    assert rewrites.read_text(encoding="utf-8") == "{}"


def test_another_version_of_the_set_is_refused_and_nothing_is_written(hub, tmp_path):
    hub.splits["train"] = rows(41)
    with pytest.raises(DataError, match="train has 41 rows, but 40 were published"):
        fetch_set("sst2", tmp_path)
    assert not (tmp_path / "sst2").exists()


def test_no_licence_and_no_answer(hub, tmp_path):
    hub.info = SimpleNamespace(sha="c0ffee", card_data=None)
    assert fetch_set("sst2", tmp_path)[0].licence is None
    hub.info = OSError("no route to host")  # and the set is in the cache of `datasets`
    fetched, _ = fetch_set("cr", tmp_path)
    assert (fetched.revision, fetched.licence) == (None, None)


def test_a_hub_that_cannot_be_reached_is_told_and_nothing_is_written(hub, tmp_path, monkeypatch):
    def load(dataset_id, config=None):
        raise ConnectionError("no route to host")

    hub.info = OSError("no route to host")
    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(HubError, match=r"the hub could not be reached for owner/sst2 \(no route to host\)"):
        fetch_set("sst2", tmp_path)
    assert not (tmp_path / "sst2").exists()


def test_unknown_name(tmp_path):
    with pytest.raises(ConfigError, match="is called 'sst3'; there are: sst2, cr, mr, imdb, ag_news"):
        fetch_set("sst3", tmp_path)


@pytest.mark.parametrize("record", ["", "[]", '{"name": 1}', "{"])
def test_a_record_that_is_none_of_ours_vouches_for_nothing(hub, tmp_path, record):
    fetch_set("sst2", tmp_path)
    (tmp_path / "sst2" / fetching.RECORD).write_text(record, encoding="utf-8")
    with pytest.raises(DataError, match="which was not fetched"):
        fetch_set("sst2", tmp_path)


def test_every_source_has_rows_for_all_splits():
    for source in SOURCES.values():
        assert {"train", "test"} <= set(source.rows)
        assert ("dev" in source.rows) != bool(source.held_out)


def test_command(hub, tmp_path, cli):
    code, out, err = cli("data", "fetch", "sst2", "cr", "--out", str(tmp_path), "--json")
    assert code == 0, err
    sets = json.loads(out)["datasets"]
    assert [(found["name"], found["rows"]["dev"], found["reused"]) for found in sets] == [
        ("sst2", 6, False),
        ("cr", 10, False),
    ]
    code, out, err = cli("data", "fetch", "sst2", "--out", str(tmp_path))
    assert code == 0, err
    assert "owner/sst2, revision c0ffee" in out
    assert "cc-by-4.0" in out
    assert "was already there" in out
