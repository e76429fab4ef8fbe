"""Nothing half-written is left, and nothing is deleted that was not to be replaced."""

import contextlib
import json
import os
import resource
from pathlib import Path

import pytest

from poisonsieve.errors import ConfigError, OutputError
from poisonsieve.storage import (
    beside,
    canonical_hash,
    require_free,
    sha256_file,
    write_json,
    writing_file,
    writing_folder,
)


@contextlib.contextmanager
def small_disk(size):
    """No file can grow beyond `size` bytes: the kernel refuses the write, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_whole(tmp_path):
    with writing_folder(tmp_path / "a" / "out") as target:
        (target / "x").write_text("1")
        assert not (tmp_path / "a" / "out").exists()
    assert names(tmp_path / "a") == ["out"]
    assert (tmp_path / "a" / "out" / "x").read_text() == "1"


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_folder_that_fails_leaves_what_was_there(stop, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("old")
    with pytest.raises(stop), writing_folder(out) as target:
        (target / "new").write_text("new")
        raise stop
    assert names(tmp_path) == ["out"]
    assert names(out) == ["old"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    out = tmp_path / "out"
    for name in ("one", "two"):
        with writing_folder(out) as target:
            (target / name).touch()
    assert names(out) == ["two"]
    assert names(tmp_path) == ["out"]


def test_a_file_is_replaced_by_a_folder(tmp_path):
    (tmp_path / "out").write_text("x")
    with writing_folder(tmp_path / "out") as target:
        (target / "x").touch()
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["x"]


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with writing_folder(tmp_path / "link") as target:
        (target / "x").touch()
    with writing_file(tmp_path / "file") as stream:
        stream.write("x")
    (tmp_path / "to-file").symlink_to(tmp_path / "file")
    with writing_file(tmp_path / "to-file") as stream:
        stream.write("y")
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "real") == ["x"]
    assert (tmp_path / "to-file").is_symlink()
    assert (tmp_path / "file").read_text() == "y"


def test_when_the_new_folder_cannot_be_put_in_place_the_old_one_stays(tmp_path, monkeypatch):
    out = tmp_path / "out"
    with writing_folder(out) as target:
        (target / "old").touch()
    rename = Path.rename

    def refuse(self, target):
        if "writing" in self.name:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OutputError, match="No space left"), writing_folder(out) as target:
        (target / "new").touch()
    assert names(out) == ["old"]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("place", [".", "..", "/", "~", "here/.."])
def test_the_folder_one_works_in_is_never_replaced(place, tmp_path, monkeypatch):
    work = tmp_path / "home" / "work"
    work.mkdir(parents=True)
    (work / "here").mkdir()
    (work / "precious").write_text("x")
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    out = Path(place).expanduser()
    with pytest.raises(ConfigError, match="never replaced"):
        require_free(out, force=True)
    with pytest.raises(ConfigError, match="never replaced"), writing_folder(out):
        pytest.fail("began to write")
    assert names(work) == ["here", "precious"]


def test_what_counts_as_free(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "file").touch()
    require_free(tmp_path / "empty")
    require_free(tmp_path / "new" / "deep" / "out")
    for name in ("full", "file"):
        with pytest.raises(ConfigError, match=f"{name} already exists.*--force"):
            require_free(tmp_path / name)
        require_free(tmp_path / name, force=True)
    with pytest.raises(OutputError, match=r"file.*choose another --out"):
        require_free(tmp_path / "file" / "out")
    with pytest.raises(OutputError, match="name too long"):
        require_free(tmp_path / ("x" * 300))
    assert names(tmp_path) == ["empty", "file", "full"]


def test_a_full_disk_leaves_no_file(tmp_path):
    out = tmp_path / "out.json"
    write_json(out, [1])
    with small_disk(4096), pytest.raises(OutputError, match=r"cannot write .*out\.json: "):
        write_json(out, list(range(10_000)))
    assert json.loads(out.read_text()) == [1]
    assert names(tmp_path) == ["out.json"]


def test_a_full_disk_leaves_no_folder(tmp_path):
    import torch
    from safetensors.torch import save_file

    tensor = torch.zeros(10_000)
    writers = {
        "plain": lambda folder: (folder / "x").write_bytes(bytes(40_000)),
        "safetensors": lambda folder: save_file({"x": tensor}, folder / "x.safetensors"),
        "torch": lambda folder: torch.save(tensor, folder / "x.bin"),
    }
    for name, write in writers.items():
        refusal = pytest.raises(OutputError, match=f"cannot write .*{name}")
        with small_disk(4096), refusal, writing_folder(tmp_path / name) as target:
            write(target)
    assert names(tmp_path) == []


def test_a_place_that_cannot_hold_a_file(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "x", tmp_path / "folder", tmp_path / ("x" * 300)):
        with pytest.raises(OutputError, match="cannot write"), writing_file(path) as stream:
            stream.write("x")
    with pytest.raises(OutputError, match="cannot write"), writing_folder(tmp_path / "file" / "out") as target:
        (target / "x").touch()
    assert names(tmp_path) == ["file", "folder"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_device_is_written_to_directly():
    with writing_file(Path(os.devnull)) as stream:
        stream.write("x")
    with pytest.raises(OutputError, match="/dev/full: No space left"), writing_file(Path("/dev/full")) as stream:
        stream.write("x")


def test_an_error_that_is_not_about_writing_passes(tmp_path):
    with pytest.raises(ZeroDivisionError), writing_folder(tmp_path / "out"):
        print(1 / 0)
    with pytest.raises(ConnectionError), writing_folder(tmp_path / "out"):
        raise ConnectionError("the other side is gone")


def test_beside(tmp_path):
    assert beside(tmp_path / "a" / ".." / "out", "partial") == tmp_path.resolve() / ".out.partial"


def test_hashes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_file(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert canonical_hash({"a": 1, "b": [2]}) == canonical_hash({"b": [2], "a": 1})
    assert canonical_hash({"a": 1}) != canonical_hash({"a": 2})
    assert canonical_hash({"a": "1"}) != canonical_hash({"a": 1})
