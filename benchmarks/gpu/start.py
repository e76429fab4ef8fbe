"""Starts the kit on the target: checks the parts that are here, unpacks what is whole, and hands over to its own source.

    python3 part-01/start.py --work /tmp/kit [what `run` takes: --seconds, --payloads, --out, ...]

Parts are the folders `part-*` beside the one that this file is in, and itself. Needs nothing but Python and pip.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from parts import KitError, missing, read_manifest, require_fit, take

#: Unpacking counts towards the time of a call.
BEGAN = time.time()
#: What has to be whole before anything can run.
BASE = ("source/", "wheels/", "grid/", "data/", "cache/")


def main() -> None:
    """Unpack, then become `run`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder on the target that stays between calls")
    options, rest = parser.parse_known_args()
    work = options.work.absolute()
    try:
        here = Path(__file__).absolute().parent
        for part in sorted({here, *(path.parent for path in here.parent.glob("part-*/manifest.json"))}):
            take(part, work)
            say(f"{part.name} is as it was packed")
        manifest = read_manifest(work)
        require_fit(manifest)
        base = sorted({number for below in BASE for number in missing(manifest, work, below)})
        if base:
            say(f"to start, these parts have to come too: {', '.join(map(str, base))}")
            return
        install(manifest, work)
    except KitError as error:
        sys.exit(f"error: {error}")
    site, source = work / "site", work / "files" / "source"
    began = os.environ.get("POISONSIEVE_KIT_BEGAN", str(BEGAN))
    environment = {**os.environ, "POISONSIEVE_KIT_BEGAN": began, "PYTHONPATH": f"{source / 'src'}{os.pathsep}{site}"}
    command = [sys.executable, str(source / "benchmarks" / "gpu"), "run", "--work", str(work), *rest]
    sys.stdout.flush()
    os.execve(sys.executable, command, environment)


def install(manifest: dict[str, Any], work: Path) -> None:
    """Unpack the wheels into `work/site`, once, by the target's own pip.

    Raises:
        KitError: pip refuses them.
    """
    done = work / "site" / ".done"
    wheels = [str(work / "files" / "wheels" / name) for name in manifest["wheels"]]
    if done.is_file() or not wheels:
        return
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    command += ["--no-cache-dir", "--disable-pip-version-check", "--upgrade", "--target", str(work / "site"), *wheels]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise KitError(f"pip could not unpack the wheels: {result.stderr.strip().splitlines()[-1:]}")
    done.touch()


def say(text: str) -> None:
    """A line of progress."""
    print(text, flush=True)


if __name__ == "__main__":
    main()
