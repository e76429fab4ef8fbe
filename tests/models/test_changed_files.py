"""Whatever stands in a checkpoint's or a guard's files, it opens or is refused in one line: never another error."""

import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import dataset, make_decoder, make_encoder, sentences
from poisonsieve import PSIM, Guard, GuardedClassifier
from poisonsieve.defenses.dan import DAN
from poisonsieve.errors import PoisonsieveError
from poisonsieve.models import load_classifier

VALUES = st.sampled_from(
    [None, 0, 1, -1, 7, 3.5, float("inf"), float("nan"), 1e30, 10**30, "", "x", "\x1b[31m", [], [1], {}]
) | st.sampled_from([{"a": 1}, {"0": "a"}, True, False, ["x", "y"], "LABEL_0"])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two models, and guards on the first: with virtual tokens, with LoRA, and one that reads the model."""
    place = tmp_path_factory.mktemp("folders")
    model = make_encoder(place / "encoder")
    make_decoder(place / "decoder")
    rows = dataset(sentences(120, seed=1))
    Guard(PSIM(model), frr_mean=0.1).fit(rows).save_pretrained(place / "prompt")
    Guard(PSIM(model, method="lora"), frr_mean=0.1).fit(rows).save_pretrained(place / "lora")
    Guard(DAN(model), frr_mean=0.1).fit(rows).save_pretrained(place / "dan")
    return place


def change(draw, content):
    """Replace or remove one value somewhere in the content."""
    while isinstance(content, dict | list) and content:
        key = draw(st.sampled_from(sorted(content) if isinstance(content, dict) else range(len(content))))
        if not isinstance(content[key], dict | list) or not content[key] or draw(st.booleans()):
            if draw(st.booleans()):
                content[key] = draw(VALUES)
            else:
                del content[key]
            return
        content = content[key]


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.filterwarnings("ignore")
def test_one_changed_value(data, folders, tmp_path):
    kind = data.draw(st.sampled_from(["encoder", "decoder", "prompt", "lora", "dan"]))
    folder = tmp_path / "changed"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(folders / kind, folder)
    file = folder / data.draw(st.sampled_from(sorted(path.name for path in folder.glob("*.json"))))
    content = json.loads(file.read_text())
    change(data.draw, content)
    file.write_text(json.dumps(content))
    try:
        if kind in ("encoder", "decoder"):
            load_classifier(folder).score(["a good film", "a"])
        else:
            GuardedClassifier.from_pretrained(folder, folders / "encoder").screen(["a good film", "a"])
    except PoisonsieveError as error:
        assert len(str(error).splitlines()) == 1


@pytest.mark.filterwarnings("ignore")
def test_a_mapping_in_place_of_any_value_of_an_adapter(folders, tmp_path):
    kept = json.loads((folders / "prompt" / "adapter_config.json").read_text())
    shutil.copytree(folders / "prompt", tmp_path / "changed")
    for key in kept:
        (tmp_path / "changed" / "adapter_config.json").write_text(json.dumps({**kept, key: {"a": 1}}))
        try:
            GuardedClassifier.from_pretrained(tmp_path / "changed", folders / "encoder").screen(["a good film"])
        except PoisonsieveError as error:
            assert len(str(error).splitlines()) == 1


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.filterwarnings("ignore")
def test_a_guard_from_a_model_with_one_changed_value(data, folders, tmp_path):
    folder = tmp_path / "changed"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(folders / data.draw(st.sampled_from(["encoder", "decoder"])), folder)
    content = json.loads((folder / "config.json").read_text())
    change(data.draw, content)
    (folder / "config.json").write_text(json.dumps(content))
    try:
        Guard(PSIM(folder), frr_mean=0.2).fit(dataset(sentences(60, seed=1)))
    except PoisonsieveError as error:
        assert len(str(error).splitlines()) == 1
