"""Checkpoints and adapters as other tools write them: each opens, or is refused in one true line."""

import json
import shutil

import numpy as np
import pytest

from architectures import make_checkpoint
from architectures import texts as swept
from conftest import dataset, make_decoder, make_encoder, sentences
from poisonsieve import PSIM, Guard, GuardedClassifier, registry
from poisonsieve.config import TuneSpec
from poisonsieve.defenses.dan import DAN
from poisonsieve.defenses.msp import MSP
from poisonsieve.errors import CheckpointError, DataError, PoisonsieveError, UnsupportedError
from poisonsieve.models import load_classifier, save_classifier
from poisonsieve.tuning import finetune, supported_tunings
from poisonsieve.tuning.methods import first_supported

NAMES = ["negative", "positive"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_encoder(tmp_path_factory.mktemp("base") / "theta")


@pytest.fixture(scope="module")
def rows():
    return dataset(sentences(160, seed=1), names=NAMES)


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
    """A LoRA adapter as PEFT alone writes it: no tokenizer, and not a word of its classes."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    folder = tmp_path_factory.mktemp("plain") / "adapter"
    network = AutoModelForSequenceClassification.from_pretrained(base)
    get_peft_model(network, LoraConfig(task_type="SEQ_CLS")).save_pretrained(folder)
    assert not (folder / "poisonsieve.json").exists()
    return folder


DETECTORS = ["psim", "msp", "dan", "strip", "rap"]


@pytest.mark.parametrize("name", DETECTORS)
def test_a_guard_from_an_adapter_that_peft_wrote(name, adapter, base, rows, tmp_path):
    guard = Guard(registry.get("defense", name)(adapter), frr_mean=0.1).fit(rows)
    assert guard.label_names == NAMES
    guard.save_pretrained(tmp_path / "guard")
    again = GuardedClassifier.from_pretrained(tmp_path / "guard", adapter)
    assert again.guard.label_names == again.victim.label_names == NAMES
    texts = rows["text"][:8]
    np.testing.assert_allclose(again.guard.score(texts).scores, guard.score(texts).scores, atol=1e-6)


@pytest.mark.parametrize("defense", ["psim", "msp"])
def test_the_command_takes_such_an_adapter(defense, adapter, rows, cli, write_jsonl, tmp_path):
    path = write_jsonl("clean.jsonl", rows.map(lambda row: row))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**line, "label": NAMES[line["label"]]}) + "\n" for line in lines))
    code, _, err = cli(
        "fit",
        "--model",
        adapter,
        "--data",
        path,
        "--frr-mean",
        0.1,
        "--defense",
        defense,
        "--out",
        tmp_path / "g",
        "-q",
    )
    assert (code, "error" in err) == (0, False)
    assert Guard.from_pretrained(tmp_path / "g").label_names == NAMES


def test_an_adapter_without_names_and_rows_without_classes(adapter, rows):
    """Its head says how many there are."""
    assert Guard(PSIM(adapter), frr_mean=0.1).fit(rows["text"]).label_names == ["LABEL_0", "LABEL_1"]


def test_an_adapter_whose_head_has_other_classes_than_the_data(adapter):
    three = dataset([(text, index % 3) for index, (text, _) in enumerate(sentences(90))], names=["a", "b", "c"])
    with pytest.raises(CheckpointError, match=r"has 2 outputs, the data 3 classes \(a, b, c\)"):
        Guard(MSP(adapter), frr_mean=0.1).fit(three)


def test_an_adapter_with_embeddings_of_its_own(tmp_path, rows):
    """The usual way to tune a decoder: a pad token is added, and the embedding resized."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base, folder = make_decoder(tmp_path / "base"), tmp_path / "adapter"
    network, tokenizer = AutoModelForSequenceClassification.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    network.resize_token_embeddings(len(tokenizer))
    network.config.pad_token_id = tokenizer.pad_token_id
    tuned = get_peft_model(network, LoraConfig(task_type="SEQ_CLS")).eval()
    tuned.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    opened = load_classifier(folder)
    assert opened.embedding_rows == len(tokenizer)
    ids = tokenizer(["a good film"], return_tensors="pt")
    expected = tuned(**ids).logits.detach().numpy()
    np.testing.assert_allclose(opened.score(["a good film"]).values, expected, atol=1e-5)
    Guard(PSIM(folder), frr_mean=0.1).fit(rows)


def test_an_adapter_that_does_not_fit_says_in_what(adapter, tmp_path):
    other = make_encoder(tmp_path / "wider", width=64)
    with pytest.raises(CheckpointError, match=r"size mismatch for .*torch.Size") as refused:
        load_classifier(adapter, base=other)
    assert "\n" not in str(refused.value)


@pytest.fixture(scope="module")
def distilbert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distilbert")
    make_checkpoint("distilbert", folder)
    return folder


def test_distilbert_can_do_what_peft_can(distilbert):
    assert supported_tunings(load_classifier(distilbert)) == ["full", "lora", "p_tuning_v1", "prompt_tuning"]


@pytest.mark.parametrize("method", ["lora", "p_tuning_v1", "prompt_tuning"])
def test_the_whole_head_is_trained_and_saved(method, distilbert, rows, tmp_path):
    """DistilBERT's head has two layers, and PEFT knows of one."""
    classifier = load_classifier(distilbert, label_names=NAMES)
    trained = finetune(classifier, rows.select(range(32)), TuneSpec(method=method, epochs=1, learning_rate=1e-2))
    assert trained.trained_weights > 0
    names = [name for name, weights in classifier.named_parameters() if weights.requires_grad]
    assert any("pre_classifier" in name for name in names)
    assert any(name.endswith("classifier.modules_to_save.default.bias") for name in names)
    (tmp_path / "victim").mkdir()
    save_classifier(classifier, tmp_path / "victim")
    texts = rows["text"][:8]
    again = load_classifier(tmp_path / "victim")
    np.testing.assert_allclose(again.score(texts).values, classifier.score(texts).values, atol=1e-6)


def test_a_guard_by_default_where_virtual_tokens_cannot_be_had(tmp_path):
    """LoRA is what comes nearest to the paper's tuning; the spec says so."""
    make_checkpoint("bart", tmp_path / "bart")
    guard = Guard(PSIM(tmp_path / "bart"), frr_mean=0.2).fit([text for seed in range(12) for text in swept(seed)])
    assert guard.detector.spec_.method == "lora"
    assert guard.detector.spec_.learning_rate == 2e-4


@pytest.mark.parametrize("kind", ["PromptTuningConfig", "PromptEncoderConfig"])
def test_a_guard_from_a_prompt_that_peft_wrote(kind, distilbert, rows, tmp_path):
    """Its sizes are in its own config: DistilBERT's config calls them by other names than PEFT looks for."""
    import peft
    from transformers import AutoModelForSequenceClassification

    sizes = {"num_virtual_tokens": 5, "token_dim": 32, "num_layers": 2, "num_attention_heads": 2}
    network = AutoModelForSequenceClassification.from_pretrained(distilbert)
    peft.get_peft_model(network, getattr(peft, kind)(task_type="SEQ_CLS", **sizes)).save_pretrained(
        tmp_path / "prompt"
    )
    guard = Guard(PSIM(tmp_path / "prompt"), frr_mean=0.1).fit(rows)
    assert guard.detector.spec_.method in ("prompt_tuning", "p_tuning_v1")
    guard.save_pretrained(tmp_path / "guard")
    again = GuardedClassifier.from_pretrained(tmp_path / "guard", tmp_path / "prompt")
    texts = rows["text"][:8]
    np.testing.assert_allclose(again.guard.score(texts).scores, guard.score(texts).scores, atol=1e-6)


def test_an_adapter_on_a_base_for_several_labels(adapter, base, rows, tmp_path):
    folder = with_config(shutil.copytree(base, tmp_path / "base"), problem_type="multi_label_classification")
    with pytest.raises(CheckpointError, match="several labels"):
        Guard(PSIM(adapter, base=folder), frr_mean=0.1).fit(rows)


def test_trying_a_tuning_leaves_the_classifier_as_it_was(base):
    classifier = load_classifier(base)
    before = {name: weights.requires_grad for name, weights in classifier.named_parameters()}
    values = classifier.score(["a good film"]).values
    assert first_supported(classifier, ["p_tuning_v1", "lora"]) == "p_tuning_v1"
    assert first_supported(classifier, ["lora"]) == "lora"
    assert {name: weights.requires_grad for name, weights in classifier.named_parameters()} == before
    np.testing.assert_array_equal(classifier.score(["a good film"]).values, values)


def add_token(folder, **changes):
    """Add a token to a checkpoint's tokenizer, and no row to its embedding."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens(changes)
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize("method", ["p_tuning_v1", "lora"])
def test_a_pad_token_that_the_embedding_has_no_row_for(method, tmp_path, rows):
    folder = make_decoder(tmp_path / "model")
    texts = rows["text"][:64]
    expected = load_classifier(folder).score(texts).values
    add_token(folder, pad_token="[PAD]")
    classifier = load_classifier(folder)
    passes = []
    classifier.register_forward_hook(lambda *_: passes.append(1))
    np.testing.assert_allclose(classifier.score(texts).values, expected, atol=1e-6)
    assert len(passes) < 8
    Guard(PSIM(folder, method=method), frr_mean=0.1).fit(rows)


def test_a_text_with_a_token_that_has_no_embedding_is_rejected_alone(tmp_path, rows):
    folder = make_encoder(tmp_path / "model")
    add_token(folder, additional_special_tokens=["<new>"])
    found = load_classifier(folder).score(["a film", "a <new> film"])
    assert found.errors[0] is None
    assert found.errors[1].startswith("model failed")
    torn = dataset([("a <new> film", 0), *sentences(100)])
    with pytest.raises(DataError, match=r"1 of 101 training rows contain tokens without an embedding in "):
        Guard(PSIM(folder), frr_mean=0.1).fit(torn, calibration=dataset(sentences(40, seed=9)))


@pytest.mark.parametrize("kind", ["byt5", "canine"])
def test_tokenizers_without_a_vocabulary_file(kind, tmp_path):
    import torch
    from transformers import (
        ByT5Tokenizer,
        CanineConfig,
        CanineForSequenceClassification,
        CanineTokenizer,
        T5Config,
        T5ForSequenceClassification,
    )

    torch.manual_seed(0)
    if kind == "byt5":
        sizes = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2, "vocab_size": 384}
        network = T5ForSequenceClassification(T5Config(**sizes, decoder_start_token_id=0))
        ByT5Tokenizer().save_pretrained(tmp_path)
    else:
        sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        network = CanineForSequenceClassification(CanineConfig(**sizes, max_position_embeddings=256))
        CanineTokenizer().save_pretrained(tmp_path)
    network.save_pretrained(tmp_path)
    texts = ["a fine film", "a dull story about nothing at all"]
    classifier = load_classifier(tmp_path)
    assert classifier.score(texts).errors == [None, None]
    alone = [classifier.score([text]).values[0] for text in texts]
    np.testing.assert_allclose(classifier.score(texts).values, alone, atol=1e-5)


def test_a_folder_without_a_tokenizer_is_still_refused(tmp_path):
    folder = make_encoder(tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="brings no tokenizer"):
        load_classifier(folder)


def with_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return folder


@pytest.fixture
def changed(base, tmp_path):
    """`changed(**values)` -> a copy of the model whose config says that."""
    return lambda **values: with_config(shutil.copytree(base, tmp_path / "changed"), **values)


@pytest.mark.parametrize(
    ("problem", "says"), [("multi_label_classification", "several labels"), ("regression", "a regression")]
)
@pytest.mark.parametrize("kind", [PSIM, MSP])
def test_outputs_that_are_no_classes(problem, says, kind, changed, rows):
    folder = changed(problem_type=problem)
    with pytest.raises(CheckpointError, match=says):
        Guard(kind(folder), frr_mean=0.1).fit(rows)
    with pytest.raises(CheckpointError, match=says):
        load_classifier(folder)


def test_a_head_for_several_labels_is_tuned_to_one(changed, rows, tmp_path):
    classifier = load_classifier(changed(problem_type="multi_label_classification"), head="any", label_names=NAMES)
    finetune(classifier, rows.select(range(16)), TuneSpec(method="full", epochs=1, learning_rate=1e-3))
    (tmp_path / "tuned").mkdir()
    save_classifier(classifier, tmp_path / "tuned")
    assert load_classifier(tmp_path / "tuned").label_names == NAMES


@pytest.mark.parametrize(
    "id2label", [{"1": "a", "2": "b"}, {"0": "a", "2": "b"}, {"0": "a", "00": "b"}, {"x": "a"}, ["a", "b"], "ab", 3]
)
def test_class_numbers_that_do_not_count_from_0(id2label, changed):
    with pytest.raises(CheckpointError, match="id2label") as refused:
        load_classifier(changed(id2label=id2label))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("count", [0, -1, "2", None, 1e30, True, 10**9])
def test_a_number_of_classes_that_is_none(count, base, tmp_path):
    folder = shutil.copytree(base, tmp_path / "changed")
    content = json.loads((folder / "config.json").read_text())
    content.pop("id2label", None), content.pop("label2id", None)
    (folder / "config.json").write_text(json.dumps({**content, "num_labels": count}))
    with pytest.raises(PoisonsieveError, match="num_labels"):
        load_classifier(folder)


def test_a_head_with_another_number_of_outputs_than_names(changed):
    names = {"0": "a", "1": "b", "2": "c"}
    with pytest.raises(CheckpointError, match=r"has 2 outputs .* names 3 classes \(a, b, c\).*id2label"):
        load_classifier(changed(id2label=names, label2id={name: int(number) for number, name in names.items()}))


@pytest.mark.parametrize("kind", [PSIM, MSP, DAN])
def test_a_model_that_gives_no_numbers_says_so_before_training(kind, base, tmp_path, rows):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(base, tmp_path / "nan")
    weights = load_file(folder / "model.safetensors")
    weights["bert.encoder.layer.1.output.dense.bias"].fill_(float("nan"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        CheckpointError,
        match=r"holds weights that are not finite numbers .first: bert.encoder.layer.1.output.dense.bias",
    ):
        Guard(kind(folder), frr_mean=0.1).fit(rows)


def test_hidden_states_of_an_encoder_decoder(tmp_path, rows):
    make_checkpoint("bart", tmp_path / "bart")
    with pytest.raises(
        UnsupportedError, match=r"hidden states of an encoder-decoder are not supported; .* psim or msp"
    ):
        Guard(DAN(tmp_path / "bart"), frr_mean=0.1).fit(rows)


def test_an_adapters_classes_are_in_the_order_of_its_base(rows, tmp_path):
    """Data name their classes in the order of the alphabet; the head may have them the other way round."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    base = with_config(
        make_encoder(tmp_path / "base"),
        id2label={"0": "positive", "1": "negative"},
        label2id={"positive": 0, "negative": 1},
    )
    network = AutoModelForSequenceClassification.from_pretrained(base)
    get_peft_model(network, LoraConfig(task_type="SEQ_CLS")).save_pretrained(tmp_path / "adapter")
    assert load_classifier(tmp_path / "adapter").label_names == ["positive", "negative"]
    assert Guard(MSP(tmp_path / "adapter"), frr_mean=0.1).fit(rows).label_names == ["positive", "negative"]
    texts = rows["text"][:8]
    given = load_classifier(tmp_path / "adapter", label_names=NAMES)
    whole = load_classifier(base)
    assert given.label_names == whole.label_names
    np.testing.assert_array_equal(given.score(texts).predictions, whole.score(texts).predictions)


@pytest.mark.parametrize("name", ["bart", "t5"])
def test_an_adapter_without_a_head_of_its_own(name, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    make_checkpoint(name, tmp_path / "base")
    network = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=2)
    get_peft_model(network, LoraConfig(task_type="SEQ_CLS")).save_pretrained(tmp_path / "adapter")
    assert load_classifier(tmp_path / "adapter").label_names == ["LABEL_0", "LABEL_1"]


@pytest.mark.parametrize("how", ["lora on it", "new tokens"])
def test_a_resized_embedding_under_names_of_pefts_own(how, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base = make_decoder(tmp_path / "base")
    network, tokenizer = AutoModelForSequenceClassification.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    network.resize_token_embeddings(len(tokenizer))
    network.config.pad_token_id = tokenizer.pad_token_id
    extra = (
        {"target_modules": ["q_proj", "embed_tokens"]}
        if how == "lora on it"
        else {"trainable_token_indices": {"embed_tokens": [tokenizer.pad_token_id]}}
    )
    get_peft_model(network, LoraConfig(task_type="SEQ_CLS", **extra)).save_pretrained(tmp_path / "adapter")
    tokenizer.save_pretrained(tmp_path / "adapter")
    assert load_classifier(tmp_path / "adapter").embedding_rows == len(tokenizer)


def test_a_checkpoint_with_more_layers_than_it_states(changed):
    with pytest.raises(CheckpointError, match=r"holds 2 layers, but its config.json states 1"):
        load_classifier(changed(num_hidden_layers=1))


def test_names_that_two_classes_share(base, tmp_path):
    folder = make_encoder(tmp_path / "three", labels=3)
    with pytest.raises(CheckpointError, match="calls two classes 'a'"):
        load_classifier(with_config(folder, id2label={"0": "a", "1": "b", "2": "a"}))


@pytest.mark.parametrize("values", [{"alora_invocation_tokens": [5]}, {"exclude_modules": ["query"]}])
def test_an_adapters_config_that_switches_its_weights_off(values, adapter, base, tmp_path):
    folder = shutil.copytree(adapter, tmp_path / "adapter")
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    with pytest.raises(CheckpointError):
        load_classifier(folder)


def test_a_bases_config_that_changed_after_the_guard_was_fitted(rows, tmp_path):
    base = make_encoder(tmp_path / "base")
    Guard(PSIM(base), frr_mean=0.1).fit(rows).save_pretrained(tmp_path / "guard")
    Guard.from_pretrained(tmp_path / "guard")
    with_config(base, layer_norm_eps=1.0)
    with pytest.raises(CheckpointError, match=r"config of the base .* has changed since"):
        Guard.from_pretrained(tmp_path / "guard")


@pytest.mark.parametrize("name", ["bart", "longformer"])
def test_rap_needs_embeddings(name, tmp_path):
    from poisonsieve.defenses.rap import RAP

    make_checkpoint(name, tmp_path / name)
    with pytest.raises(UnsupportedError, match="cannot be given embeddings"):
        Guard(RAP(tmp_path / name, word="cf"), frr_mean=0.2).fit([text for seed in range(12) for text in swept(seed)])


def test_a_tokenizer_that_knows_no_other_words(tmp_path):
    """No unknown token: words of our own choosing cannot be asked of it, those of the data can."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    folder = make_encoder(tmp_path / "model")
    made = Tokenizer(
        models.WordLevel({word: index for index, word in enumerate(["[PAD]", "[CLS]", "[SEP]", "ja", "nee"])})
    )
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]").save_pretrained(folder)
    texts = [" ".join(["ja", "nee"][bit == "1"] for bit in format(number, "b")) for number in range(1, 120)]
    guard = Guard(PSIM(folder), frr_mean=0.1).fit(texts)
    assert guard.detector.spec_.method == "p_tuning_v1"
    assert guard.score([*texts[:5], "ja onbekend"]).errors == [*[None] * 5, "tokenizer failed: Exception"]


def test_tokenizers_that_read_alike_by_their_rules_and_not_in_fact(base, tmp_path):
    guard = Guard(MSP(base), frr_mean=0.2).fit([text for text, _ in sentences(60)])
    folder = shutil.copytree(base, tmp_path / "victim")
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "split_special_tokens": True}))
    with pytest.raises(CheckpointError, match="another tokenizer"):
        GuardedClassifier(guard, load_classifier(folder))
