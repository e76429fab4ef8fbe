import time

import datasets
import huggingface_hub
import huggingface_hub.constants
import pytest

from poisonsieve.data import hub, labels_of, load_dataset
from poisonsieve.errors import DataError, HubError


def table(columns, names=("negative", "positive")):
    found = datasets.Dataset.from_dict(columns)
    return found.cast_column("label", datasets.ClassLabel(names=list(names))) if names else found


def offline_flags():
    return datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE


@pytest.fixture
def served(monkeypatch):
    """What the hub holds, and what was asked of it."""
    splits, asked = {}, []
    monkeypatch.setattr(hub, "_why_unreachable", lambda dataset_id: None)
    monkeypatch.setattr(datasets, "load_dataset", lambda *args: asked.append(args) or datasets.DatasetDict(splits))
    return splits, asked


def test_alias(served):
    splits, asked = served
    splits["validation"] = table({"sentence": ["x", "y"], "label": [1, 0], "idx": [0, 1]})
    found = load_dataset("hub:cola#dev")
    assert asked == [("nyu-mll/glue", "cola")]
    assert found.column_names == ["text", "label"]
    assert (labels_of(found), found["label"][:]) == (["negative", "positive"], [1, 0])


def test_any_id_with_config_and_plain_labels(served):
    splits, asked = served
    splits["extra"] = table({"text": ["x", "y"], "label": ["spam", "ham"]}, names=None)
    found = load_dataset("hub:owner/name/config", split="extra")
    assert asked == [("owner/name", "config")]
    assert labels_of(found) == ["ham", "spam"]


def test_models_classes(served):
    served[0]["train"] = table({"text": ["x", "y"], "label": [1, 0]})
    assert load_dataset("hub:mr", label_names=["POSITIVE", "NEGATIVE"])["label"][:] == [0, 1]


def test_split_without_labels_points_to_dev(served):
    served[0].update(validation=table({"text": ["x"], "label": [0]}), test=table({"text": ["x"], "label": [-1]}))
    with pytest.raises(DataError, match=r"hub:sst2#test is published without labels \(all -1\); use the dev split"):
        load_dataset("hub:sst2", split="test")


def test_absent_split_and_columns(served):
    served[0]["train"] = table({"premise": ["x"], "label": [0]})
    with pytest.raises(DataError, match="hub:cr has no split dev; it has: train"):
        load_dataset("hub:cr#validation")
    with pytest.raises(DataError, match=r"needs the columns text .* it has: premise, label"):
        load_dataset("hub:cr")


def test_a_second_text_column_is_not_passed_over(served):
    served[0]["train"] = table({"text": ["x", "y"], "sentence": ["mn x", "mn y"], "label": [0, 1]})
    with pytest.raises(DataError, match="hub:mr#train has both columns text and sentence; one would go unread"):
        load_dataset("hub:mr")


def test_labels_are_read_as_in_files(served):
    served[0]["train"] = table({"text": ["x", "y", "z"], "label": [True, False, True]}, names=None)
    found = load_dataset("hub:mr")
    assert (labels_of(found), found["label"][:]) == (["False", "True"], [1, 0, 1])
    served[0]["train"] = table({"text": ["x", "y", "z"], "label": [1.0, 0.0, None]}, names=None)
    with pytest.raises(DataError, match="hub:mr#train:3: label is missing"):
        load_dataset("hub:mr")


def test_a_split_by_the_hubs_own_name(served):
    served[0]["training"] = table({"text": ["x", "y"], "label": [1, 0]})
    assert len(load_dataset("hub:mr#training")) == 2


def test_bad_row_is_named(served):
    served[0]["train"] = table({"text": ["x", None], "label": [0, 1]})
    with pytest.raises(DataError, match="hub:mr#train:2: text is missing"):
        load_dataset("hub:mr")


@pytest.mark.parametrize("name", ["absent", "a//b", "a/b/c/d", ""])
def test_bad_id(name):
    with pytest.raises(DataError, match="give owner/name"):
        load_dataset(f"hub:{name}")


def test_unreachable_hub_is_told_fast_and_settings_are_put_back(monkeypatch, tmp_path):
    def unreachable(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    before = offline_flags()
    started = time.monotonic()
    with pytest.raises(HubError, match=r"could not be reached for stanfordnlp/sst2 \(no route to host\)") as caught:
        load_dataset("hub:sst2")
    assert time.monotonic() - started < 20
    assert "packaged: data work without the hub" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert offline_flags() == before


def test_broken_set_on_a_hub_that_answers(monkeypatch):
    def fail(*args):
        raise ValueError("Config name is missing.\nPlease pick one among the available configs: ['a']")

    monkeypatch.setattr(hub, "_why_unreachable", lambda dataset_id: None)
    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(HubError, match="the hub's owner/name cannot be loaded: Config name is missing"):
        load_dataset("hub:owner/name")
