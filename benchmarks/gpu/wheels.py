"""Which packages a target lacks, and their wheels.

What the target has stays as it is. A version that is not the one asked for is reported, and replaced only where the
user names the package. torch is never carried: it belongs to the card's driver.
"""

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from gpu.parts import KitError

_OLDEST_GLIBC = 17  # manylinux2014; what is older is named by aliases below
_ALIASES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


class Target:
    """The machine that a probe has described.

    Args:
        facts: what `probe.py` printed there.

    Raises:
        KitError: it has no torch, or is no machine that this kit serves.
    """

    def __init__(self, facts: dict[str, Any]) -> None:
        try:
            self.packages: dict[str, str] = facts["packages"]
            self.python: tuple[int, int] = (facts["python"][0], facts["python"][1])
            self.system, self.machine, self.glibc = facts["system"], facts["machine"], facts["glibc"]
            implementation = facts["implementation"]
        except (KeyError, TypeError, IndexError) as error:
            raise KitError(f"this is not what probe.py prints ({type(error).__name__}: {error})") from None
        if implementation != "cpython" or self.system != "Linux" or not self.glibc:
            raise KitError(
                f"the target runs {implementation} on {self.system}; the kit serves CPython on Linux with glibc"
            )
        if "torch" not in self.packages:
            raise KitError("the target has no torch; the kit needs a machine with a PyTorch that fits its card")
        if "pip" not in self.packages:
            raise KitError("the target has no pip, by which the kit's wheels are unpacked; install it there")

    @property
    def tag(self) -> str:
        """Its Python, as wheels name it."""
        return f"cp{self.python[0]}{self.python[1]}"

    @property
    def platforms(self) -> list[str]:
        """Platform tags that it can install, newest first."""
        major, minor = self.glibc[0], self.glibc[1]
        found = []
        for each in range(minor, 4, -1):
            if each >= _OLDEST_GLIBC or each in _ALIASES:
                found.append(f"manylinux_{major}_{each}_{self.machine}")
                found += [f"{_ALIASES[each]}_{self.machine}"] if each in _ALIASES else []
        return [*found, f"linux_{self.machine}"]

    def tags(self) -> set[Tag]:
        """All wheel tags that fit it."""
        platforms = self.platforms
        return {
            *cpython_tags(self.python, platforms=platforms),
            *compatible_tags(self.python, self.tag, platforms=platforms),
        }

    def markers(self, extra: str) -> dict[str, str]:
        """What the conditions of requirements are about."""
        own = {str(key): str(value) for key, value in default_environment().items()}
        version = ".".join(map(str, self.python))
        return {
            **own,
            "python_version": version,
            "python_full_version": f"{version}.0",
            "sys_platform": "linux",
            "platform_system": "Linux",
            "platform_machine": self.machine,
            "os_name": "posix",
            "extra": extra,
        }

    def require_fit(self, wheel: str) -> None:
        """Refuse a wheel for another Python or another platform.

        Raises:
            KitError: names it.
        """
        try:
            tags = parse_wheel_filename(wheel)[3]
        except InvalidWheelFilename:
            raise KitError(f"{wheel} is not named as wheels are") from None
        if not tags & self.tags():
            raise KitError(
                f"{wheel} does not fit the target ({self.tag}, {self.machine}, glibc {'.'.join(map(str, self.glibc))}); "
                "give a wheel for that Python"
            )


def compare(
    project: Path, extras: Iterable[str], target: Target, replace: Iterable[str]
) -> tuple[list[str], list[str]]:
    """What the target lacks, and what it has in another version than is asked for.

    Args:
        project: the folder with `pyproject.toml`.
        extras: of its optional dependencies, those wanted too.
        target: where it is to run.
        replace: names of packages to carry although the target has them.

    Returns:
        Requirements ``name==version`` to carry, at the versions installed here; and a line for each package whose
        version differs.

    Raises:
        KitError: a package that has to be carried is not installed here, so its version and needs are not known.
    """
    replaced = {canonicalize_name(name) for name in replace} - {"torch"}
    wanted, differing, seen = {}, [], set()
    todo = list(_stated(project, extras, target))
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        there = target.packages.get(name)
        if there is not None and not requirement.specifier.contains(there, prereleases=True):
            carried = " (carried, and used instead)" if name in replaced else ": kept as it is"
            differing.append(f"{name} {there} is there, {requirement} is asked for{carried}")
        if name in seen or (there is not None and name not in replaced):
            continue
        seen.add(name)
        wanted[name] = _version_here(name)
        todo += _needs(importlib.metadata.requires(name) or [], {"", *requirement.extras}, target)
    return [f"{name}=={version}" for name, version in sorted(wanted.items())], sorted(set(differing))


def download(requirements: list[str], target: Target, folder: Path, own: Path | None = None) -> list[Path]:
    """One wheel for each requirement, in `folder`.

    Args:
        requirements: ``name==version``.
        target: whose Python and platform they are for.
        folder: is made.
        own: a folder with wheels of the user's, which are all carried; what it holds is not downloaded.

    Raises:
        KitError: a wheel does not fit the target, or pip finds none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mine = sorted(own.glob("*.whl")) if own is not None else []
    for wheel in mine:
        target.require_fit(wheel.name)
        (folder / wheel.name).write_bytes(wheel.read_bytes())
    known = {canonicalize_name(parse_wheel_filename(wheel.name)[0]) for wheel in mine}
    rest = [line for line in requirements if line.partition("==")[0] not in known]
    if rest:
        _pip_download(rest, target, folder)
    found = sorted(folder.glob("*.whl"))
    for wheel in found:
        target.require_fit(wheel.name)
    return found


def _pip_download(requirements: list[str], target: Target, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", ".".join(map(str, target.python)), "--implementation", "cp"]
    command += [part for abi in (target.tag, "abi3", "none") for part in ("--abi", abi)]
    command += [part for platform in target.platforms for part in ("--platform", platform)]
    done = subprocess.run([*command, "--dest", str(folder), *requirements], capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise KitError(f"pip found no wheels for the target: {said[-1] if said else done.stderr[-300:]}")


def _stated(project: Path, extras: Iterable[str], target: Target) -> Iterator[Requirement]:
    """What `pyproject.toml` asks for; an extra may name other extras of the project."""
    import tomllib

    stated = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups, own = stated.get("optional-dependencies", {}), canonicalize_name(stated["name"])
    unknown = sorted(set(extras) - set(groups))
    if unknown:
        raise KitError(f"there is no extra {unknown[0]}; there are: {', '.join(groups)}")
    lines = [*stated["dependencies"], *(line for extra in extras for line in groups[extra])]
    while lines:
        requirement = Requirement(lines.pop())
        if canonicalize_name(requirement.name) == own:
            lines += [line for extra in requirement.extras for line in groups[extra]]
        elif requirement.marker is None or requirement.marker.evaluate(target.markers("")):
            yield requirement


def _needs(lines: Iterable[str], extras: set[str], target: Target) -> list[Requirement]:
    parsed = [Requirement(line) for line in lines]
    return [
        each
        for each in parsed
        if each.marker is None or any(each.marker.evaluate(target.markers(extra)) for extra in extras)
    ]


def _version_here(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise KitError(f"the target lacks {name}, and so does this machine; install it here first") from None
