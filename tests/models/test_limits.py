"""A checkpoint's files cannot switch the guard off by what they say of lengths: all is read, or one line refuses it."""

import json
import shutil

import pytest

from conftest import make_encoder
from poisonsieve import PSIM, Guard, GuardedClassifier
from poisonsieve.defenses.msp import MSP
from poisonsieve.errors import PoisonsieveError
from poisonsieve.models import load_classifier
from poisonsieve.models.tokens import stated_limit

NONE_STATED = [0, -1, float("inf"), float("-inf"), float("nan"), 1e30, 10**30, None, "512", True, []]
TOO_SMALL = [1, 5, 7]
TEXT = "a very good film with a quite awful scene and a slow plot"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return make_encoder(tmp_path_factory.mktemp("plain") / "model")


@pytest.fixture
def changed(plain, tmp_path):
    """`changed(file, key, value)` -> a copy of the model in which the file says that."""

    def make(file, key, value):
        folder = tmp_path / "changed"
        shutil.copytree(plain, folder, dirs_exist_ok=True)
        path = folder / file
        content = json.loads(path.read_text()) if path.is_file() else {"label_names": ["LABEL_0", "LABEL_1"]}
        path.write_text(json.dumps({**content, key: value}))
        return folder

    return make


@pytest.mark.parametrize("value", NONE_STATED)
def test_no_limit_is_no_limit(value):
    assert stated_limit(value) is None


def reads_all_of_it(folder):
    found = load_classifier(folder).score([TEXT])
    assert found.truncated.tolist() == [False]


def is_refused(folder, match):
    with pytest.raises(PoisonsieveError, match=match) as refused:
        load_classifier(folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", NONE_STATED)
def test_a_tokenizer_that_states_no_limit(value, changed):
    try:
        reads_all_of_it(changed("tokenizer_config.json", "model_max_length", value))
    except PoisonsieveError as error:
        assert "\n" not in str(error)
        assert value == [] or isinstance(value, str)


@pytest.mark.parametrize("value", TOO_SMALL)
def test_a_tokenizer_that_leaves_no_room(value, changed):
    is_refused(changed("tokenizer_config.json", "model_max_length", value), "leaves no room for a text")


@pytest.mark.parametrize("value", [*NONE_STATED, *TOO_SMALL])
def test_a_config_whose_positions_are_others_than_its_weights(value, changed):
    """Weights for 48 positions are there; a config that says another number does not fit them."""
    is_refused(
        changed("config.json", "max_position_embeddings", value), r"max_position_embeddings|lacks|cannot be opened"
    )


@pytest.mark.parametrize("value", [0, -1, 5, 7, float("inf"), 1e30, None, "512", True, []])
def test_the_length_that_a_checkpoint_was_tuned_with(value, changed):
    is_refused(changed("poisonsieve.json", "max_length", value), "max_length")


def test_a_length_beyond_the_positions_is_brought_down(changed):
    assert load_classifier(changed("poisonsieve.json", "max_length", 10**30)).max_length == 48


@pytest.mark.parametrize("value", [0, 5, -3])
def test_a_length_that_a_caller_asks_for(value, plain):
    with pytest.raises(PoisonsieveError, match="give a limit of at least 8"):
        load_classifier(plain, max_length=value)


def test_no_room_beside_the_virtual_tokens(plain, toy_train):
    with pytest.raises(PoisonsieveError, match="45 of them virtual"):
        Guard(PSIM(plain, method="prompt_tuning", virtual_tokens=45), frr=0.1).fit(toy_train)


@pytest.fixture(scope="module")
def guards(plain, toy_train, tmp_path_factory):
    """Folders of a guard with a network of its own, of one with virtual tokens, and of one that reads the model."""
    folder = tmp_path_factory.mktemp("guards")
    Guard(PSIM(plain), frr=0.1).fit(toy_train).save_pretrained(folder / "psim")
    Guard(PSIM(plain, method="full"), frr=0.1).fit(toy_train).save_pretrained(folder / "full")
    Guard(MSP(plain), frr=0.1).fit(toy_train).save_pretrained(folder / "msp")
    return folder


@pytest.mark.parametrize("value", [0, -1, 5, float("inf"), 1e30, None, "x"])
@pytest.mark.parametrize(
    ("guard", "file", "keys"),
    [
        ("psim", "poisonsieve.json", ["max_length"]),
        ("psim", "guard.json", ["tuning", "max_length"]),
        ("psim", "adapter_config.json", ["num_virtual_tokens"]),
        ("full", "poisonsieve.json", ["max_length"]),
        ("msp", "guard.json", ["settings", "max_length"]),
    ],
)
def test_a_guards_own_files(guard, file, keys, value, guards, tmp_path, plain):
    """Whatever length they state: every text that is passed was read as far as before, or the guard is refused."""
    folder = tmp_path / "guard"
    shutil.copytree(guards / guard, folder)
    content = json.loads((folder / file).read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    assert keys[-1] in place
    place[keys[-1]] = value
    (folder / file).write_text(json.dumps(content))
    try:
        guarded = GuardedClassifier.from_pretrained(folder, plain)
    except PoisonsieveError as error:
        assert "\n" not in str(error)
        return
    assert not any(verdict.truncated for verdict in guarded.screen([TEXT]))


def test_the_victim_reads_no_further_than_the_guard_at_any_limit(plain):
    """A limit of 0 tokens is a limit, not the lack of one."""
    victim = load_classifier(plain)
    for limit in range(8):
        rows = victim.encode([TEXT], max_length=limit).ids
        assert len(rows[0]) <= limit
