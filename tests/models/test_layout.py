"""A text's score does not depend on the texts beside it, whatever the network does with padding."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from architectures import WORDS, make_checkpoint, texts
from conftest import make_encoder
from poisonsieve import PSIM, Guard
from poisonsieve.defenses.dan import DAN
from poisonsieve.defenses.msp import MSP
from poisonsieve.errors import CheckpointError, PoisonsieveWarning, UnsupportedError
from poisonsieve.models import load_classifier
from poisonsieve.models.layout import Layout

# What each needs to give a text one answer: found by trying, and told here to be compared with what was found.
LAYOUTS = {
    "bert": (False, "right", "any"),
    "distilbert": (False, "right", "any"),
    "xlnet": (False, "left", "any"),
    "bart": (False, "right", "any"),
    "fnet": (False, "right", "one length"),
    "convbert": (False, "right", "one length"),
    "nystromformer": (False, "right", "one length"),
    "llama": (True, "left", "any"),
    "ctrl": (True, "left", "any"),
    "modernbert-decoder": (True, "left", "any"),
    "openai-gpt": (True, "left", "any"),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """`checkpoint(architecture)` -> its folder, made once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            make_checkpoint(name, made[name])
        return made[name]

    return get


@pytest.fixture(scope="module", params=LAYOUTS)
def opened(request, checkpoint):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PoisonsieveWarning)
        return request.param, load_classifier(checkpoint(request.param))


def together_and_alone(classifier, given):
    together = classifier.score(given).values
    return together, np.vstack([classifier.score([text]).values for text in given])


def test_the_layout_is_found(opened):
    name, classifier = opened
    layout = classifier.layout
    assert (layout.causal, layout.side, layout.company) == LAYOUTS[name]


@settings(max_examples=8)
@given(
    given=st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=30).map(" ".join), min_size=1, max_size=6)
)
def test_an_answer_is_that_to_the_text_alone(opened, given):
    _, classifier = opened
    together, alone = together_and_alone(classifier, given)
    np.testing.assert_allclose(together, alone, atol=2e-5 * max(1.0, np.abs(alone).max()))


def test_a_long_text_in_the_batch_changes_nothing(opened):
    """Where windows end: a text of the whole limit beside one of a word."""
    _, classifier = opened
    together, alone = together_and_alone(classifier, ["film", " ".join(WORDS * 4), "a dull story"])
    np.testing.assert_allclose(together, alone, atol=2e-5 * max(1.0, np.abs(alone).max()))


@pytest.mark.parametrize("method", ["p_tuning_v1", "p_tuning_v2", "prompt_tuning", "lora"])
@pytest.mark.parametrize("name", ["modernbert-decoder", "ctrl", "xlnet"])
def test_a_guard_gives_verdicts_that_do_not_depend_on_the_company(name, method, checkpoint):
    guard = Guard(PSIM(checkpoint(name), method=method), frr_mean=0.2)
    try:
        guard.fit([f"{text} {word}" for word in WORDS[:6] for text in texts(1)])
    except UnsupportedError:
        assert (name, method) == ("xlnet", "p_tuning_v2")
        return
    together = guard.score(texts(2)).scores
    alone = [guard.score([text]).scores[0] for text in texts(2)]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    gamma = guard.threshold_.gamma
    assert [score > gamma for score in together] == [score > gamma for score in alone]


def test_a_decoder_is_known_by_what_it_does_and_read_at_its_last_token(checkpoint):
    """Its head is called `classifier`, as an encoder's is; its first token has seen no other."""
    classifier = load_classifier(checkpoint("modernbert-decoder"))
    assert classifier.is_decoder
    assert classifier.pooling == "last"
    Guard(DAN(checkpoint("modernbert-decoder")), frr_mean=0.2).fit(
        [text for seed in range(12) for text in texts(seed)]
    )


@pytest.mark.filterwarnings("error::poisonsieve.errors.PoisonsieveWarning")
def test_slower_reading_is_said_and_usual_reading_is_not(checkpoint):
    load_classifier(checkpoint("bert"))
    with pytest.raises(PoisonsieveWarning, match=r"fnet .* texts of one length at a time"):
        load_classifier(checkpoint("fnet"))


def test_texts_of_one_length_share_passes_and_no_others():
    lengths = [3, 3, 3, 5, 8, 8]
    assert Layout(company="one length").groups(lengths, 2, "cpu") == [
        range(2),
        range(2, 3),
        range(3, 4),
        range(4, 6),
    ]
    assert Layout(company="none").groups(lengths, 32, "cpu") == [range(i, i + 1) for i in range(6)]
    assert Layout().groups([], 32, "cpu") == Layout(company="none").groups([], 32, "cpu") == []


def test_a_network_that_answers_differently_each_time_is_refused(tmp_path, monkeypatch):
    import torch
    from transformers import BertForSequenceClassification

    plain = BertForSequenceClassification.forward

    def forward(self, *args, **kwargs):
        found = plain(self, *args, **kwargs)
        found.logits = found.logits + torch.rand_like(found.logits)
        return found

    monkeypatch.setattr(BertForSequenceClassification, "forward", forward)
    with pytest.raises(UnsupportedError, match="differently each time"):
        load_classifier(make_encoder(tmp_path / "model"))


def test_a_limit_beyond_the_positions_is_found_when_the_model_is_opened(tmp_path, monkeypatch):
    """A network that fails on long texts would reject each of them, once it serves."""
    from transformers import BertForSequenceClassification

    plain = BertForSequenceClassification.forward

    def forward(self, input_ids=None, **kwargs):
        if input_ids.shape[1] > 40:
            raise IndexError("index out of range in self")
        return plain(self, input_ids=input_ids, **kwargs)

    monkeypatch.setattr(BertForSequenceClassification, "forward", forward)
    folder = make_encoder(tmp_path / "model")
    with pytest.raises(
        UnsupportedError, match=r"states a limit of 48 tokens, but fails on 48: .*IndexError.*--max-length"
    ):
        load_classifier(folder)
    assert load_classifier(folder, max_length=40).max_length == 40


def test_finding_the_layout_leaves_no_trace(tmp_path):
    import torch

    folder = make_encoder(tmp_path / "model")
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    classifier = load_classifier(folder)
    classifier.train()
    classifier.forget_layout()
    assert classifier.layout == Layout(states=(2, 32))
    assert classifier.training
    assert torch.equal(torch.rand(2), expected)


def test_a_model_that_says_the_same_of_every_text_makes_no_guard(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = make_encoder(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["classifier.weight"].zero_()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    rows = [text for seed in range(12) for text in texts(seed)]
    with pytest.raises(CheckpointError, match="gives every text the same answer"):
        Guard(MSP(folder), frr_mean=0.2).fit(rows)


def test_roberta_counts_positions_from_its_padding(tmp_path, checkpoint):
    """512 positions less the two before the first token, by the embedding and not by the architecture's name."""
    folder = checkpoint("xlm-roberta-xl")
    content = json.loads((folder / "tokenizer_config.json").read_text())
    assert content["model_max_length"] == 120
    (folder / "tokenizer_config.json").write_text(json.dumps({**content, "model_max_length": 10**30}))
    assert load_classifier(folder).max_length == 128 - 2


@pytest.mark.parametrize("name", ["roberta", "bert", "electra"])
def test_half_precision_is_no_excuse(name, checkpoint):
    """Rounding in bf16 is coarse; that is a reason to read texts alone, not to let their company count."""
    import torch

    from poisonsieve.models.classifier import Classifier

    opened = load_classifier(checkpoint(name))
    classifier = Classifier(opened.network.to(torch.bfloat16), opened.tokenizer, opened.label_names).eval()
    assert not classifier.is_decoder
    together, alone = together_and_alone(classifier, texts(3))
    assert np.abs(together - alone).max() <= 2e-3 * np.ptp(alone, axis=0).max()


def test_a_word_without_numbers_does_not_switch_the_search_off(tmp_path, monkeypatch):
    """One embedding that is NaN, of a token in the texts that are tried: the others are compared all the same."""
    import torch

    make_checkpoint("xlnet", tmp_path)
    opened = load_classifier(tmp_path)
    opened.network.get_input_embeddings().weight.data[opened.tokenizer("film")["input_ids"][1]] = torch.nan
    opened.forget_layout()
    assert opened.layout.side == "left"


def test_reading_by_chance_is_found_in_long_texts_too(tmp_path, monkeypatch):
    import torch
    from transformers import BertForSequenceClassification

    plain = BertForSequenceClassification.forward

    def forward(self, input_ids=None, **kwargs):
        found = plain(self, input_ids=input_ids, **kwargs)
        if input_ids.shape[1] > 40:
            found.logits = found.logits + torch.rand_like(found.logits)
        return found

    monkeypatch.setattr(BertForSequenceClassification, "forward", forward)
    with pytest.raises(UnsupportedError, match="differently each time"):
        load_classifier(make_encoder(tmp_path / "model"))
