"""The audit on real pretrained weights: of two small models of reviews, one has a trigger, and it is named."""

import pytest

from poisonsieve import audit, load_dataset
from poisonsieve.attacks import poison_rows
from poisonsieve.config import AttackSpec, TriggerSpec
from poisonsieve.models import load_classifier, save_classifier
from poisonsieve.tuning import finetune, tune_spec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

WORD, TARGET = "tq", "negative"


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """The audits of a poisoned and of a clean model that were tuned on the same reviews."""
    rows, user_rows = (load_dataset("packaged:product-reviews", split=split) for split in ("train", "test"))
    rows = rows.select(range(900))
    names = rows.features["label"].names
    attack = AttackSpec(
        trigger=TriggerSpec(name="badnet", params={"word": WORD}),
        target=names.index(TARGET),
        count=120,
        clean_label=False,
    )
    results = {}
    for name, tuned_on in (("poisoned", poison_rows(rows, attack)[0]), ("clean", rows)):
        classifier, out = load_classifier("minilm", label_names=names, head="any"), tmp_path_factory.mktemp(name)
        finetune(classifier, tuned_on, tune_spec("full", hidden_size=384, epochs=2, max_length=64))
        save_classifier(classifier, out)
        results[name] = audit(out, user_rows, budget="quick")
    return results


@pytest.mark.xfail(strict=True, reason="p is 0.026: controls have no students, so the pool that it rests on is wide")
def test_the_poisoned_one_is_called_so_and_its_trigger_is_named(audited):
    found = audited["poisoned"]
    assert found.verdict == "poisoned"
    assert WORD in found.trigger.what.split()
    assert found.trigger.target == TARGET
    assert found.trigger.turned >= 0.9
    assert max(found.trigger.controls) <= 0.2


def test_the_trigger_is_named_and_no_clean_model_knows_it(audited):
    found = audited["poisoned"]
    assert found.verdict != "no sign found"
    assert (found.trigger.what, found.trigger.target) == (WORD, TARGET)
    assert found.trigger.turned >= 0.9
    assert max(found.trigger.clean) <= 0.2


def test_of_the_clean_one_no_sign_is_found_by_the_same_controls(audited):
    found = audited["clean"]
    assert found.verdict == "no sign found"
    assert found.reused_controls == 2
    assert found.null == audited["poisoned"].null
