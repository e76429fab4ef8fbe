"""What results are called is explained where it stands, and in the glossary."""

from pathlib import Path

import pytest

GLOSSARY = Path(__file__).parents[1] / "docs/guide/glossary.md"
WORDS = ["theta_p", "victim", "gamma", "CA", "ASR", "FRR", "FAR", "AUROC", "trigger", "confidence", "clean-label"]


@pytest.mark.parametrize("word", WORDS)
def test_the_glossary_has_the_word(word):
    rows = [line.split("|")[1].strip() for line in GLOSSARY.read_text().splitlines() if line.startswith("|")]
    assert any(word in row.replace(",", " ").split() for row in rows)


def test_help_of_fit_explains_what_it_prints(cli):
    _, out, _ = cli("fit", "--help")
    said = " ".join(out.split())
    for word in ("theta_p is", "gamma is the threshold", "false-rejection rate"):
        assert word in said


def test_the_table_explains_its_words(capfd):
    from poisonsieve.cli.tables import print_evaluation
    from poisonsieve.metrics import evaluate_guard
    from poisonsieve.thresholds import fixed_gamma

    rows = {"labels": [0, 1], "predictions": [0, 1], "scores": [0.5, 0.6], "rejected": [False, False]}
    groups = {f"{group}_{name}": values for group in ("clean", "triggered") for name, values in rows.items()}
    print_evaluation(evaluate_guard(**groups, target=0, gamma=0.9), fixed_gamma(0.9))
    out, _ = capfd.readouterr()
    for said in ("CA ", "ASR ", "AUROC ", "gamma ", "answered right", "attacker's class", "above it is rejected"):
        assert said in out


def test_descriptions_are_sentences(cli):
    """`poisonsieve list` is read by people who have not read the code."""
    import json

    described = json.loads(cli("list", "--json")[1])["descriptions"]
    for entries in described.values():
        for name, text in entries.items():
            assert text[0].isupper() and text.endswith("."), (name, text)
            assert "`" not in text, (name, text)
