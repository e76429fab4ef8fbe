"""What is refused before anything trains, naming the key; and how scales and sweeps change a file."""

from pathlib import Path

import pytest

from conftest import make_mpnet, write_grid, write_toy_rows
from poisonsieve.bench.checks import check
from poisonsieve.bench.fingerprints import Fingerprints
from poisonsieve.bench.plan import make_plan
from poisonsieve.bench.spec import at_scale, expand, load_grid
from poisonsieve.errors import ConfigError
from poisonsieve.tuning.architectures import model_type


@pytest.fixture
def load(tmp_path):
    """`load(**changes)` -> the checked grid; its model is a hub id, which is not here and is not fetched."""

    def call(model="hub:somebody/some-model", **changes):
        path = write_grid(write_toy_rows(tmp_path), model, **changes)
        grid = load_grid(path, data_root=tmp_path)
        check(grid)
        return grid

    return call


def vary(defense="psim", **variants):
    """No defence, and PSIM with each of these settings."""
    return {"none": {"defense": "none"}, "psim": {"defense": defense, "vary": variants}}


DEEP = {"method": "p_tuning_v2"}
TOY = {"train": "{data}/train.jsonl", "test": "{data}/test.jsonl"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"defences": {}}, "defences: extra inputs are not permitted"),
        ({"threshold": {"gama": 1}}, "threshold.gama: extra inputs"),
        ({"threshold": {"gamma": 0.7, "frr": 0.01}}, "exactly one of frr, frr_mean and gamma"),
        ({"attacks": {"x": {"trigger": "nothing", "count": 3}}}, "attacks.x: unknown attack 'nothing'"),
        ({"attacks": {"x": {"trigger": "badnet", "cuont": 3}}}, "attacks.x.cuont: extra inputs"),
        ({"attacks": {"x": {"trigger": "badnet"}}}, "attacks.x: give exactly one of count and rate"),
        (
            {"attacks": {"x": {"trigger": "badnet", "count": 3, "datasets": {"nowhere": None}}}},
            "attacks.x.datasets names nowhere",
        ),
        (
            {"attacks": {"x": {"trigger": "badnet", "count": 3, "datasets": {"toy": {"cuont": 1}}}}},
            "attacks.x.datasets.toy: cuont: extra inputs",
        ),
        (
            {"attacks": {"x": {"trigger": "badnet", "count": 3, "datasets": {"toy": {"trigger": "nothing"}}}}},
            "attacks.x.datasets.toy: unknown attack 'nothing'",
        ),
        ({"attacks": {"x": {"clean": True, "trigger": "badnet"}}}, "clean means that there is no trigger"),
        ({"attacks": {"x": {"clean": True, "defenses": ["psi"]}}}, "attacks.x.defenses names psi"),
        ({"attacks": {"x": {"trigger": "badnet", "count": 3, "training": {"lr": 1}}}}, "attacks.x: lr: extra inputs"),
        (
            {"defenses": {"none": {"defense": "none"}, "x": {"defense": "psimm"}}},
            "defenses.x: unknown defense 'psimm'",
        ),
        (
            {"defenses": {"none": {"defense": "none"}, "x": {"defense": "onion:barr=1"}}},
            "defenses.x: defence onion has no argument 'barr'",
        ),
        ({"defenses": {"none": {"defense": "none", "datasets": ["y"]}}}, "defenses.none.datasets names y"),
        ({"victims": {"x": {"method": "lorra"}}}, "victims.x: unknown tuning 'lorra'"),
        ({"victims": {"x": {"epochs": 3}}}, "victims.x: method is missing"),
        ({"victims": {"x": {"method": "lora", "seed": 3}}}, "victims.x: seed is set by seeds"),
        ({"victims": {"x": {"method": "lora", "epochs": 0}}}, "victims.x: epochs: "),
        ({"defenses": vary(x={"method": "lorra"})}, "defenses.psim.vary.x: unknown tuning 'lorra'"),
        ({"defenses": vary(x={"method": "lora", "gamma": 1})}, "defenses.psim.vary.x: gamma is set by threshold"),
        ({"defenses": vary(x={"epochs": 0})}, "defenses.psim.vary.x: epochs: "),
        ({"defenses": vary(x={"gama": 1})}, "defenses.psim.vary.x: defence psim has no argument 'gama'"),
        ({"defenses": vary(x={"method": "a,b=c"})}, "method: a,b=c cannot be an argument here"),
        (
            {"defenses": vary("psim:epochs=2", x={"epochs": 3})},
            "defenses.psim.vary.x: defence 'psim:epochs=2,epochs=3'",
        ),
        ({"defenses": {"none": {"defense": "none", "vary": {"x": {}}}}}, "vary gives arguments of a defense"),
        ({"psim": {"x": {"method": "lora"}}}, "defenses: {psim: {defense: psim, vary: {p_tuning_v1: {method:"),
        ({"poison": {"learning_rat": 1}}, "learning_rat: extra inputs"),
        ({"models": {"x": {"model": "hub:a/b", "tunings": ["lorra"]}}}, "models.x.tunings names lorra"),
        ({"models": {"x": {"model": "hub:a/b", "victims": {"lora": {"epoch": 1}}}}}, "models.x.victims.lora: epoch"),
        ({"sweeps": {"a": {"victim": "x", "field": "epochs", "values": [1]}}}, "sweeps.a.victim names x"),
        ({"sweeps": {"a": {"victim": "lora", "field": "rank", "values": [1]}}}, "sweeps.a: rank: extra inputs"),
        ({"datasets": {"x": {"setting": "full_task", "data": TOY}}}, "full_task, which needs them"),
        ({"datasets": {"x": {"setting": "half", "data": TOY}}}, "datasets.x.setting: "),
        ({"datasets": {"x": {"setting": "full_data", "data": {"train": "a"}}}}, "data.test is missing"),
        ({"datasets": {"x": {"setting": "full_data", "data": TOY, "attacks": ["y"]}}}, "datasets.x.attacks names y"),
    ],
)
def test_a_mistake_is_refused_before_anything_trains_naming_the_key(load, change, says):
    with pytest.raises(ConfigError) as raised:
        load(**change)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("where", ["victims", "defenses"])
def test_a_model_that_cannot_do_a_tuning_is_refused_without_being_opened(load, tmp_path, where):
    folder = make_mpnet(tmp_path / "mpnet")
    (folder / "model.safetensors").unlink()
    v2 = {where: vary(deep=DEEP) if where == "defenses" else {"deep": DEEP}}
    with pytest.raises(ConfigError, match=r"models\.tiny: a mpnet model cannot do p_tuning_v2 .*deep"):
        load(model=folder, **v2)
    load(model=folder)  # by the other tunings it can


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, r"models\.tiny\.bits: .* frozen in 4 bits, and these train all weights: full; remove"),
        (
            {"victims": {"lora": {"method": "lora"}}, "defenses": vary(deep={"method": "full"})},
            r"all weights: defenses\.psim\.vary\.deep;",
        ),
        (
            {
                "victims": {"lora": {"method": "lora"}},
                "attacks": {"BadNet": {"trigger": "badnet", "count": 30, "poisoning": "ripple"}},
            },
            r"all weights: attacks\.BadNet;",
        ),
        (
            {
                "victims": {"lora": {"method": "lora"}},
                "defenses": {"none": {"defense": "none"}, "mixed": {"defense": "fine-mixing:pretrained={model}"}},
            },
            r"all weights: defenses\.mixed;",
        ),
    ],
)
def test_what_trains_all_weights_is_refused_for_a_model_in_4_bits(load, tmp_path, change, says):
    models = {"tiny": {"model": str(tmp_path / "model"), "bits": 4}}
    with pytest.raises(ConfigError, match=says):
        check(load(models=models, **change))


def test_what_peft_refuses_is_what_is_refused_here(tmp_path):
    """The list of architectures is not believed, but tried on real (random) models."""
    from poisonsieve.models.load import load_classifier
    from poisonsieve.tuning import supported_tunings

    able = supported_tunings(load_classifier(make_mpnet(tmp_path / "mpnet")))
    assert "p_tuning_v2" not in able
    assert {"full", "lora", "prompt_tuning"} <= set(able)


def test_a_model_that_is_not_here_is_left_to_when_it_is_opened(load):
    (said,) = check(load()).deferred
    assert said.startswith("models.tiny: hub:somebody/some-model is not on this machine")
    assert model_type("minilm") == "bert"


def test_what_was_checked_is_remembered_until_a_name_changes(load, tmp_path, monkeypatch):
    memory = tmp_path / "checked.json"
    found = check(load(), memory)
    monkeypatch.setattr("poisonsieve.bench.checks._check_settings_of", lambda grid: pytest.fail("looked up again"))
    path = write_grid(tmp_path, "hub:somebody/some-model", threshold={"gamma": 0.7}, title="another")
    assert check(load_grid(path, data_root=tmp_path), memory) == found
    path = write_grid(tmp_path, "hub:somebody/some-model", victims={"x": {"method": "lorra"}})
    with pytest.raises(pytest.fail.Exception):
        check(load_grid(path, data_root=tmp_path), memory)


def test_scales_merge_by_key_take_away_and_replace():
    content = {
        "title": "t",
        "models": {"a": {"model": "x", "tunings": ["full"]}, "b": {"model": "y"}},
        "seeds": [0, 1],
        "scale": {"small": {"models": {"a": {"model": "z"}, "b": None}, "seeds": [3]}, "paper": None},
    }
    assert at_scale(content, "small") == {
        "title": "t",
        "models": {"a": {"model": "z", "tunings": ["full"]}},
        "seeds": [3],
    }
    assert at_scale(content, None)["seeds"] == [0, 1]
    with pytest.raises(ConfigError, match="scale has no 'tiny'; it has: small, paper"):
        at_scale(content, "tiny")


def test_a_scale_starts_from_another():
    content = {
        "title": "t",
        "seeds": [0, 1],
        "scale": {
            "small": {"seeds": [3], "title": "s"},
            "tiny": {"like": "small", "title": "v"},
            "lost": {"like": "none"},
            "round": {"like": "about"},
            "about": {"like": "round"},
        },
    }
    assert at_scale(content, "tiny") == {"title": "v", "seeds": [3]}
    assert at_scale(content, "small") == {"title": "s", "seeds": [3]}
    with pytest.raises(ConfigError, match="scale has no 'none'"):
        at_scale(content, "lost")
    with pytest.raises(ConfigError, match=r"scale\.round\.like leads back to 'round'"):
        at_scale(content, "round")


def test_no_file_and_no_yaml_are_one_line(tmp_path):
    repeated = "one value would hide another"
    for text, says in (
        ("a: [", "is no YAML"),
        ("- a", "holds no grid"),
        ("title: a\ntitle: b", rf"x.yaml: the key title stands twice .*{repeated}"),
        ("datasets: {a: {}, a: {}}", repeated),
        ("models: {1: {}, '1': {}}", rf"the key 1 stands twice .*{repeated}"),
    ):
        (tmp_path / "x.yaml").write_text(text)
        with pytest.raises(ConfigError, match=says):
            load_grid(tmp_path / "x.yaml")
    with pytest.raises(ConfigError, match="cannot read"):
        load_grid(tmp_path / "none.yaml")


def test_cells_are_what_the_entries_allow(load):
    model = {"model": "hub:a/b", "tunings": ["lora"]}
    sweeps = {"a": {"victim": "full", "field": "epochs", "values": [1, 2]}}
    grid = load(models={"one": model, "two": {"model": "hub:a/c"}}, sweeps=sweeps, seeds=[0, 1])
    cells = expand(grid)
    victims = {name: {cell.victim for cell in cells if cell.model == name} for name in grid.models}
    assert victims == {"one": {"lora"}, "two": {"full", "lora", "full[epochs=1]", "full[epochs=2]"}}
    assert {cell.defense for cell in cells if cell.attack == "normal"} == {"none"}
    assert len(cells) == len(set(cells)) == (1 + 4) * (1 + 2) * 2


def test_an_attack_is_run_on_its_own_data_sets_with_what_is_otherwise_there(load):
    toy = {"setting": "full_data", "data": {**TOY, "dev": "{data}/dev.jsonl"}}
    everywhere = {"trigger": "badnet", "count": 3}
    grid = load(
        datasets={"one": toy, "two": toy},
        attacks={
            "normal": {"clean": True, "defenses": ["none"]},
            "both": {**everywhere, "datasets": {"one": None, "two": {"count": 5}}},
            "second": {**everywhere, "datasets": {"two": {"trigger": "insent"}}},
        },
    )
    assert {cell.dataset for cell in expand(grid) if cell.attack == "second"} == {"two"}
    fingerprints = Fingerprints(Path("unused.json"))
    plan = make_plan(grid, expand(grid), check(grid), fingerprints)
    made = {
        (cell.dataset, cell.attack): next(stage for stage in last.chain() if stage.kind == "theta_p").params["attack"]
        for cell, last in zip(plan.cells, plan.scores, strict=True)
        if cell.attack != "normal"
    }
    assert {where: (attack["trigger"], attack["count"]) for where, attack in made.items()} == {
        ("one", "both"): ("badnet", 3),
        ("two", "both"): ("badnet", 5),
        ("two", "second"): ("insent", 3),
    }
    floors = {
        cell.dataset: {name.partition(":")[2] for name in last.params["sets"] if ":" in name}
        for cell, last in zip(plan.cells, plan.scores, strict=True)
        if cell.attack == "normal"
    }
    assert floors == {"one": {"both"}, "two": {"both", "second"}}


def test_attacks_and_defences_can_be_kept_to_data_sets_and_the_floor_is_always_there(load):
    toy = {"setting": "full_data", "data": {**TOY, "dev": "{data}/dev.jsonl"}}
    grid = load(
        datasets={"one": toy, "two": {**toy, "attacks": ["second"]}},
        attacks={
            "normal": {"clean": True, "defenses": ["none"]},
            "first": {"trigger": "badnet", "count": 3},
            "second": {"trigger": "insent", "count": 3},
        },
    )
    runs = {name: {cell.attack for cell in expand(grid) if cell.dataset == name} for name in ("one", "two")}
    assert runs == {"one": {"normal", "first", "second"}, "two": {"normal", "second"}}
    part = load(
        datasets={"one": toy, "two": toy},
        defenses={"none": {"defense": "none"}, "psim": {"defense": "psim", "datasets": ["two"]}},
    )
    assert {cell.dataset for cell in expand(part) if cell.defense == "psim"} == {"two"}
    assert {cell.dataset for cell in expand(part) if cell.defense == "none"} == {"one", "two"}
    plan = make_plan(grid, expand(grid), check(grid), Fingerprints(Path("unused.json")))
    floors = {
        cell.dataset: {name for name in last.params["sets"] if ":" in name}
        for cell, last in zip(plan.cells, plan.scores, strict=True)
        if cell.attack == "normal"
    }
    assert floors == {"one": {"triggered:first", "triggered:second"}, "two": {"triggered:second"}}


def test_the_command_says_it_in_one_line_and_leaves_nothing(tmp_path, cli):
    path = write_grid(
        write_toy_rows(tmp_path), "hub:a/b", defenses={"none": {"defense": "none"}, "x": {"defense": "psimm"}}
    )
    code, _, said = cli("bench", "run", path, "--data-root", tmp_path, "--out", tmp_path / "out")
    assert code == 2
    assert said.startswith("error: defenses.x: unknown defense 'psimm'")
    assert not list(tmp_path.glob("out/stages/*"))
