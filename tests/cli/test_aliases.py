"""The field's names for attacks on the command line: they open ours, and what is made is the same."""

import json

import pytest
import yaml

pytest_plugins = ["commands"]


def test_list_shows_them(cli):
    code, out, _ = cli("list", "--json")
    said = json.loads(out)
    assert code == 0
    assert said["aliases"]["attacks"] == {
        **{"badnets": "badnet", "addsent": "insent"},
        **{"synbkd": "synattack-rules", "hiddenkiller": "synattack-rules"},
    }
    assert said["aliases"]["poisonings"] == {"ripples": "ripple", "lwp": "layerwise"}
    assert "badnets" not in said["attacks"]
    _, out, _ = cli("list")
    for shown in (
        "badnet (badnets)",
        "insent (addsent)",
        "(hiddenkiller, synbkd)",
        "ripple (ripples)",
        "layerwise (lwp)",
    ):
        assert shown in out


def test_a_stage_made_by_an_alias_is_the_stage_of_the_name(cli, tiny, train_file, tmp_path):
    call = [
        "poison",
        "--model",
        tiny("encoder"),
        "--data",
        train_file,
        "--count",
        5,
        "--epochs",
        1,
        "--quiet",
        "--json",
    ]
    made = {}
    for trigger, poisoning in (("badnets:word=cf", "ripples"), ("badnet:word=cf", "ripple")):
        out = ["--out", tmp_path / "theta_p"]
        code, said, err = cli(*call, "--trigger", trigger, "--poisoning", poisoning, *out)
        assert code == 0, err
        made[trigger] = json.loads(said)["reused"]
    assert list(made.values()) == [False, True]
    run = (tmp_path / "theta_p" / "run.json").read_text()
    assert "badnets" not in run and "ripples" not in run


def test_a_grid_with_aliases_is_the_grid_with_the_names(tmp_path, tiny):
    from poisonsieve.bench.comparison import load_comparison

    base = {
        "title": "t",
        "model": "m",
        "data": {"train": "a", "dev": "b", "test": "c"},
        "victim": {"method": "lora"},
        "defenses": {"none": {"defense": "none"}},
    }
    digests = set()
    for trigger, poisoning in (("addsent", "lwp"), ("insent", "layerwise")):
        path = tmp_path / "c.yaml"
        path.write_text(
            yaml.safe_dump({**base, "attacks": {"a": {"trigger": trigger, "poisoning": poisoning, "count": 3}}})
        )
        digests.add(load_comparison(path).digest())
    assert len(digests) == 1


@pytest.mark.parametrize("trigger", ["synbkd:path=x", "hiddenkiller:file=x"])
def test_a_file_of_paraphrases_is_another_trigger(trigger, refused, tiny, train_file, tmp_path):
    call = ["poison", "--model", tiny("encoder"), "--data", train_file, "--count", 5, "--out", tmp_path / "p"]
    refused(*call, "--trigger", trigger, says=("synattack-rules", "synattack-file (file, original)"))
