"""Names of files for records that say what `screen` does not write."""

import pytest

pytest_plugins = ["commands"]

ENDINGS = [".gz", ".GZ", ".bz2", ".xz", ".zst", ".zstd", ".lz4", ".br", ".zip", ".7z", ".tar", ".tgz", ".Z", ".lzma"]


@pytest.fixture
def call(guard_folder, test_file):
    return ["screen", guard_folder, test_file, "--quiet"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_records_are_not_compressed(ending, call, refused, tmp_path):
    before = sorted(tmp_path.iterdir())
    for stem in ("v.csv", "v.jsonl", "v.parquet", "v.sarif.json", "v"):
        out = tmp_path / f"{stem}{ending}"
        for options in ([], ["--format", "csv"], ["--format", "parquet"], ["--json"], ["--engine", "ray"]):
            refused(*call, "--out", out, *options, says=("not compressed", ending, "--out"))
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["v.gz.csv", "gz", ".gz-v", "v.gzip-like"])
def test_a_name_that_ends_otherwise_is_taken(name, call, cli, tmp_path):
    code, _, err = cli(*call, "--out", tmp_path / name)
    assert code == 0, err
    assert (tmp_path / name).is_file()
