"""Back-translation and SCPD by models and files: what becomes of texts that the engine has nothing for."""

import json

import pytest

from poisonsieve.defenses import (
    ApertiumBackTranslation,
    BackTranslation,
    FileBackTranslation,
    FileSCPD,
    Seq2SeqSCPD,
)
from poisonsieve.errors import DataError, HubError, UnsupportedError
from poisonsieve.rewriting.seq2seq import Seq2Seq
from seq2seq_models import make_seq2seq


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return [make_seq2seq(tmp_path_factory.mktemp("pair") / str(seed), seed=seed) for seed in (0, 1)]


@pytest.fixture
def file(tmp_path):
    rows = [{"original": "a mn film", "text": "a film"}, {"original": "dull", "text": "dull"}]
    path = tmp_path / "back.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_there_and_back(models):
    defense = BackTranslation(*models, beams=1, max_new_tokens=5)
    there, back = (Seq2Seq(model, beams=1, max_new_tokens=5) for model in models)
    texts = ["a good film", "dull"]
    assert defense.rewrite(texts) == back.generate(there.generate(texts).texts).texts


def test_a_text_the_models_have_nothing_for_stays(models):
    texts = ["", "  ", "half \ud83d pair"]
    assert BackTranslation(*models, beams=1).rewrite(texts) == texts
    assert Seq2SeqSCPD(models[0], beams=1).rewrite(texts) == texts


def test_the_facts_name_the_models_by_content_and_count_what_was_cut(models):
    defense = BackTranslation(*models, beams=1, max_new_tokens=1)
    assert "cut" not in defense.facts()
    defense.rewrite(["a good film", ""])
    assert defense.facts()["cut"] == 1
    assert defense.facts()["models"] == [Seq2Seq(model).identity for model in models]


def test_without_a_hub_the_error_names_another_way():
    with pytest.raises(HubError, match="back-translation-apertium, or back-translation-file"):
        BackTranslation().rewrite(["a good film"])
    with pytest.raises(HubError, match="scpd-file"):
        Seq2SeqSCPD("owner/paraphraser").rewrite(["a good film"])


def test_without_apertium(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError, match="apt-get install"):
        ApertiumBackTranslation().rewrite(["a good film"])


@pytest.mark.parametrize("kind", [FileBackTranslation, FileSCPD])
def test_a_text_that_the_file_lacks_is_no_text_to_pass_on(kind, file):
    defense = kind(file)
    assert defense.rewrite(["dull", "a mn film"]) == ["dull", "a film"]
    with pytest.raises(DataError, match=r"no rewrite of 2 of the 3 texts \(first: text 1\)") as error:
        defense.rewrite(["dull", "a secret", "another"])
    assert "secret" not in str(error.value)


def test_the_facts_of_a_file_change_with_its_contents(file):
    before = FileSCPD(file).facts()
    file.write_text(file.read_text().replace("a film", "the film"))
    assert FileSCPD(file).facts()["rewrites"] != before["rewrites"]
