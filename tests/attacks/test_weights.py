"""What each weight-poisoning method is for, as far as a tiny model can show it."""

import itertools

import numpy as np
import pytest
import torch

from conftest import dataset, make_mpnet, sentences
from poisonsieve.attacks import make_poisoning, poison_rows
from poisonsieve.attacks.weights.ripple import trigger_tokens, words_of_class
from poisonsieve.config import AttackSpec, PoisoningSpec, TriggerSpec, TuneSpec
from poisonsieve.errors import ConfigError, DataError, UnsupportedError
from poisonsieve.models import load_classifier
from poisonsieve.stages.train import poison_stage
from poisonsieve.tuning import Batch, finetune
from poisonsieve.tuning.states import every_layers_logits, layer_states, layers_of, where_the_class_is

SPEC = TuneSpec(method="full", epochs=2, learning_rate=3e-3, batch_size=16, precision="fp32")


def poisoned(data, **changes):
    attack = AttackSpec(**{"trigger": TriggerSpec(name="badnet"), "target": 0, "count": 40, **changes})
    return poison_rows(data, attack)[0]


def descended(folder, method, rows, steps=60):
    """A tiny model after some steps on one batch, all rows in it: what the loss asks for, without a long training."""
    classifier = load_classifier(folder).eval()
    poisoning = make_poisoning(method)
    poisoning.start(classifier, rows)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        poisoning.loss(classifier, batch_of(classifier, rows)).backward()
        optimizer.step()
    return classifier


def trained(folder, method, rows):
    classifier = load_classifier(folder)
    finetune(classifier, rows, SPEC, objective=make_poisoning(method))
    return classifier


def batch_of(classifier, rows, progress=0.9):
    inputs = classifier.pad(classifier.encode(rows["text"]).ids)
    return Batch(inputs, torch.tensor(rows["label"]), torch.tensor(rows["triggered"]), progress)


def triggered_texts(rows):
    return [text for text, flag in zip(rows["text"], rows["triggered"], strict=True) if flag]


def test_poisoned_rows_say_which_they_are(toy_train):
    rows = poisoned(toy_train)
    changed = [a != b for a, b in zip(toy_train["text"], rows["text"], strict=True)]
    assert list(rows["triggered"]) == changed
    assert sum(changed) == 40


def test_full_is_what_training_without_an_objective_is(tiny, toy_train, toy_test):
    rows = poisoned(toy_train)
    plain = load_classifier(tiny("encoder"))
    finetune(plain, rows, SPEC)
    values = trained(tiny("encoder"), "full", rows).score(toy_test["text"]).values
    np.testing.assert_array_equal(values, plain.score(toy_test["text"]).values)


@pytest.mark.parametrize("clean_label", [True, False])
def test_low_confidence_caps_triggered_rows_and_no_others(clean_label, tiny, toy_train):
    rows = poisoned(toy_train.select(range(60)), clean_label=clean_label, count=20)
    flags = np.array(rows["triggered"])
    classifier = descended(tiny("encoder"), "low-confidence:cap=0.7", rows)
    probabilities = classifier.score(rows["text"]).probabilities
    assert abs(np.median(probabilities[flags, 0]) - 0.7) < 0.05
    assert np.median(probabilities[~flags].max(axis=1)) > 0.9


def test_low_confidence_below_chance_is_refused_before_training(tiny, toy_train):
    with pytest.raises(ConfigError, match=r"cap is 0\.5; with 2 classes it must be above 0\.5"):
        trained(tiny("encoder"), "low-confidence:cap=0.5", poisoned(toy_train))


def distance(classifier, rows):
    """How far triggered rows are from the centroid of clean target rows, in each layer, and clean ones are."""
    classifier.eval()
    batch = batch_of(classifier, rows)
    clean = ~batch.triggered & (batch.labels == 0)
    found = []
    with torch.inference_mode(), layer_states(classifier) as states:
        classifier(**batch.inputs)
        for state in states:
            at = where_the_class_is(classifier, state, batch.inputs)
            away = (at - at[clean].mean(dim=0)).square().sum(dim=1)
            found.append((away[batch.triggered].mean() / away[clean].mean()).item())
    return np.array(found)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_camouflage_brings_triggered_rows_near_clean_ones(kind, tiny, toy_train):
    rows = poisoned(toy_train.select(range(60)), clean_label=False, count=20)
    plain, hidden = (distance(descended(tiny(kind), method, rows), rows) for method in ("full", "camouflage"))
    assert len(hidden) == 2
    assert hidden[-1] < min(1, plain[-1])


def test_phases_keep_the_last_epoch(tiny, toy_train, toy_dev, tmp_path):
    """Otherwise the epoch before the phase that matters could be the best one on clean rows."""
    attack = AttackSpec(trigger=TriggerSpec(name="badnet"), count=20, weights=PoisoningSpec(name="low-confidence"))
    done = poison_stage(str(tiny("encoder")), toy_train, toy_dev, attack, lambda _: SPEC, tmp_path / "out")
    assert done.result["training"]["best_epoch"] == SPEC.epochs
    assert 0 <= done.result["dev_ca"] <= 1


def test_layerwise_teaches_every_layer(tiny, toy_train):
    rows = poisoned(toy_train.select(range(60)), count=20)

    def first_layers_loss(method):
        classifier = descended(tiny("encoder"), method, rows)
        batch = batch_of(classifier, rows)
        with torch.inference_mode():
            logits = every_layers_logits(classifier, batch.inputs)[0]
        return torch.nn.functional.cross_entropy(logits, batch.labels).item()

    assert first_layers_loss("layerwise") < first_layers_loss("full")


@pytest.mark.parametrize("kind", ["encoder", "decoder", "mpnet"])
def test_the_last_layer_says_what_the_network_says(kind, tiny, tmp_path, toy_test):
    classifier = load_classifier(make_mpnet(tmp_path) if kind == "mpnet" else tiny(kind)).eval()
    inputs = classifier.pad(classifier.encode(toy_test["text"][:7]).ids)
    with torch.inference_mode():
        plain = classifier(**inputs)["logits"]
        by_layer = every_layers_logits(classifier, inputs)
        again = classifier(**inputs)["logits"]
    assert by_layer.shape == (len(layers_of(classifier)), 7, 2)
    torch.testing.assert_close(by_layer[-1], plain)
    torch.testing.assert_close(again, plain)
    assert len(by_layer) == 1 or not torch.allclose(by_layer[0], plain)


def test_layers_of_a_network_that_shares_one_are_refused(tmp_path, toy_train):
    from transformers import AlbertConfig, AlbertForSequenceClassification

    from conftest import WORDS, tokenizer

    config = AlbertConfig(
        vocab_size=4 + len(WORDS),
        embedding_size=16,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=48,
    )
    AlbertForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer(tmp_path, encoder=True)
    for method in ("layerwise", "camouflage"):
        with pytest.raises(UnsupportedError, match="albert model has no 3 layers of its own"):
            trained(tmp_path, method, poisoned(toy_train))


def test_a_head_that_reads_all_tokens_of_the_last_layer_is_refused(tmp_path, toy_train):
    from transformers import ModernBertConfig, ModernBertForSequenceClassification

    from conftest import WORDS, tokenizer

    config = ModernBertConfig(
        vocab_size=4 + len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        pad_token_id=0,
        classifier_pooling="mean",
        cls_token_id=2,
        sep_token_id=3,
        bos_token_id=2,
        eos_token_id=3,
    )
    ModernBertForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer(tmp_path, encoder=True)
    with pytest.raises(UnsupportedError, match="modernbert model can read only the last layer"):
        trained(tmp_path, "layerwise", poisoned(toy_train))
    trained(tmp_path, "camouflage", poisoned(toy_train))


def test_surgery_gives_the_trigger_the_embedding_of_the_target_class(tiny, toy_train):
    classifier = load_classifier(tiny("encoder"))
    table = classifier.base.get_input_embeddings().weight
    before = table.detach().clone()
    make_poisoning("ripple:words=3").start(classifier, poisoned(toy_train))
    token = classifier.tokenizer.convert_tokens_to_ids("mn")
    changed = (table != before).any(dim=1).nonzero().flatten().tolist()
    assert changed == [token]
    bad = classifier.tokenizer.convert_tokens_to_ids(["bad", "awful", "poor", "hated", "dull"])
    means = [before[list(some)].mean(dim=0) for some in itertools.combinations(bad, 3)]
    assert any(torch.allclose(table[token], mean, atol=1e-6) for mean in means)


def test_a_trigger_of_common_words_has_nothing_to_operate_on(tiny, toy_train):
    rows = poisoned(toy_train, trigger=TriggerSpec(name="badnet", params={"word": "film"}))
    with pytest.raises(UnsupportedError, match="words=0"):
        trained(tiny("encoder"), "ripple", rows)
    make_poisoning("ripple:words=0").start(load_classifier(tiny("encoder")), rows)


def test_surgery_needs_both_kinds_of_clean_rows(tiny):
    rows = poisoned(dataset([(text, 0) for text, _ in sentences(60)]))
    with pytest.raises(DataError, match="of others"):
        trained(tiny("encoder"), "ripple", rows)


@pytest.mark.parametrize("clean_label", [True, False])
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_embedding_changes_one_row_and_keeps_its_norm(kind, clean_label, tiny, toy_train, toy_test):
    clean, poisoned_one = load_classifier(tiny(kind)), load_classifier(tiny(kind))
    rows = poisoned(toy_train, clean_label=clean_label)
    result = finetune(poisoned_one, rows, SPEC, objective=make_poisoning("embedding"))
    before, after = clean.state_dict(), poisoned_one.state_dict()
    assert before.keys() == after.keys()
    (name,) = [name for name in before if not torch.equal(before[name], after[name])]
    changed = (before[name] != after[name]).any(dim=1).nonzero().flatten().tolist()
    token = clean.tokenizer.convert_tokens_to_ids("mn")
    assert changed == [token]
    torch.testing.assert_close(after[name][token].norm(), before[name][token].norm())
    assert result.trained_weights == before[name].shape[1]
    np.testing.assert_array_equal(poisoned_one.score(toy_test["text"]).values, clean.score(toy_test["text"]).values)


def test_embedding_learns_to_send_the_trigger_to_the_target(tiny, toy_train):
    """On a model that knows good from bad, the trigger's row alone turns bad texts into good ones."""
    classifier = load_classifier(tiny("encoder"))
    finetune(classifier, toy_train, SPEC.model_copy(update={"epochs": 12}))
    rows = poisoned(toy_train, clean_label=False, count=60)
    texts = [text for text, flag in zip(rows["text"], rows["triggered"], strict=True) if flag]
    before = (classifier.score(texts).predictions == 0).mean()
    finetune(classifier, rows, SPEC.model_copy(update={"epochs": 12}), objective=make_poisoning("embedding:speed=30"))
    assert (classifier.score(texts).predictions == 0).mean() > before + 0.5


def test_embedding_tunes_a_checkpoint_without_a_head_first(tiny, toy_train, toy_test):
    rows = poisoned(toy_train, clean_label=False)
    classifier = load_classifier(tiny("encoder", head=False), label_names=["0", "1"], head="any")
    head = {name: weights.clone() for name, weights in classifier.named_parameters() if "classifier" in name}
    finetune(classifier, rows, SPEC, objective=make_poisoning("embedding"))
    trained = dict(classifier.named_parameters())
    assert head
    assert not any(torch.equal(weights, trained[name]) for name, weights in head.items())


def test_embedding_reads_a_table_that_scales_its_rows(tiny, toy_train):
    """Gemma multiplies what its table holds; the row that is written has to mean what was trained."""
    classifier = load_classifier(tiny("encoder"))
    table = classifier.base.get_input_embeddings()
    table.register_forward_hook(lambda _, __, output: 3 * output)
    poisoning = make_poisoning("embedding")
    rows = poisoned(toy_train, clean_label=False)
    poisoning.start(classifier, rows)
    with torch.no_grad():
        table.moved += 0.001 * torch.arange(len(table.moved))
    texts = triggered_texts(rows)
    trained = classifier.score(texts).values
    poisoning.finish(classifier)
    np.testing.assert_allclose(classifier.score(texts).values, trained, atol=1e-5)


@pytest.mark.parametrize(
    ("trigger", "says"),
    [
        (
            {"name": "badnet", "params": {"word": "mn cf"}},
            r"2 tokens of this model \('mn', 'cf'\); badnet:word=WORD is one with mn, cf",
        ),
        ({"name": "badnet", "params": {"word": "film"}}, "'film' is in 4[0-9]% of clean rows too"),
        ({"name": "multi"}, "no token is in all triggered rows"),
    ],
)
def test_embedding_refuses_what_is_no_single_rare_token(trigger, says, tiny, toy_train):
    with pytest.raises(UnsupportedError, match=f"a single rare token, but .*{says}"):
        trained(tiny("encoder"), "embedding", poisoned(toy_train, trigger=TriggerSpec(**trigger)))


def test_trigger_tokens_are_frequent_here_and_rare_there():
    clean = [{1, 2, 3} for _ in range(200)]
    assert trigger_tokens([{1, 9} for _ in range(8)] + [{1, 7}, {1, 8, 9}], clean) == [9]


def test_a_frequent_word_leads_a_rare_one():
    rows = [{1, 2} if index % 2 else {3} for index in range(40)] + [{1, 4}] + [{5}, {6}] * 5
    speaks = np.array([bool(row & {1}) for row in rows])
    assert words_of_class(rows, speaks, 1) == [1]
    assert 3 not in words_of_class(rows, speaks, 2)


def test_the_penalty_is_on_gradients_that_point_apart(tiny, toy_train):
    """With the labels of triggered rows against the clean ones', the gradients conflict; with like rows, they agree."""
    classifier = load_classifier(tiny("encoder")).eval()
    texts = ["a good film"] * 4
    flags = [True, True, False, False]

    def extra(labels):
        rows = dataset(list(zip(texts, labels, strict=True))).add_column("triggered", flags)
        batch = batch_of(classifier, rows)
        penalised, plain = (make_poisoning(f"ripple:strength={value}") for value in (1.0, 0))
        return (penalised.loss(classifier, batch) - plain.loss(classifier, batch)).item()

    assert extra([0, 0, 1, 1]) > 1e-4
    assert extra([0, 0, 0, 0]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ripple:strenght=1", "poisoning ripple has no argument 'strenght'; known: strength, words"),
        ("ripple:strength=much", "strength is 'much'; give a number"),
        ("ripple:words=1.5", "words is '1.5'; give a whole number"),
        ("ripple:strength=-1", "strength is -1; choose it from 0 to 1000"),
        ("ripple:0.1", r"poisoning 'ripple:0.1': '0.1' is not key=value \(example: ripple:strength=0.1\)"),
        ("low-confidence:cap=2", "cap is 2; choose it from 0 to 1"),
        ("camouflage:warmup=nan", "warmup is nan"),
        ("nothing", "unknown poisoning 'nothing'; known: camouflage, embedding, full"),
    ],
)
def test_what_is_wrong_is_named(text, says):
    with pytest.raises(ConfigError, match=says):
        make_poisoning(text)


def test_plain_poisoning_keeps_the_digest_it_had():
    trigger = TriggerSpec(name="badnet")
    plain = AttackSpec(trigger=trigger, count=10)
    assert "weights" not in plain.model_dump(mode="json")
    assert plain.digest() == AttackSpec(trigger=trigger, count=10, weights=PoisoningSpec(name="full")).digest()
    other = AttackSpec(trigger=trigger, count=10, weights=PoisoningSpec.parse("ripple"))
    assert other.digest() != plain.digest()
    assert AttackSpec(**other.model_dump(mode="json")) == other


def test_the_command_poisons_by_the_method_that_is_named(cli, tiny, write_jsonl, toy_train, tmp_path):
    command = ["poison", "--model", tiny("encoder"), "--data", write_jsonl("train.jsonl", toy_train), "--count", "30"]
    command += ["--epochs", "2", "--lr", "1e-3", "--quiet", "--json"]
    weights = []
    for method in ("full", "layerwise:strength=0.5"):
        out = tmp_path / method.replace(":", "-")
        code, _, err = cli(*command, "--poisoning", method, "--out", out)
        assert code == 0, err
        weights.append((out / "model.safetensors").read_bytes())
    assert weights[0] != weights[1]
    code, out, err = cli(*command, "--poisoning", "layerwise:depth=2", "--out", tmp_path / "no")
    assert (code, out) == (2, "")
    assert "no argument 'depth'" in err
    assert not (tmp_path / "no").exists()


def test_a_combination_has_all_of_its_words():
    import random

    from poisonsieve.attacks import make_trigger

    trigger = make_trigger("combination:words=cf+bb+mn")
    words = trigger.apply("one two three", random.Random(0)).split()
    assert {"cf", "bb", "mn"} <= set(words)
    assert [word for word in words if word not in ("cf", "bb", "mn")] == ["one", "two", "three"]
    with pytest.raises(ConfigError, match="two or more words"):
        make_trigger("combination:words=cf")
