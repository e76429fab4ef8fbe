"""Check the places that commands write to before the work starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from poisonsieve.errors import ConfigError

if TYPE_CHECKING:
    from poisonsieve.stages.keep import StageResult


def check_outputs(out: Path, force: bool, inputs: Sequence[str | Path | None] = ()) -> None:
    """Fail before hours of work if the result cannot be written or would replace its own input.

    Raises:
        ConfigError: see `require_free`; or `out` is one of `inputs`, or a folder that contains one.
        OutputError: nothing can be written there.
    """
    from poisonsieve.data.files import exists
    from poisonsieve.storage import reporting_write_errors, require_free

    with reporting_write_errors(out):
        for source in [*inputs, *_bases(inputs)]:
            place = Path(str(source).rpartition("#")[0] or str(source))
            if source and exists(place) and place.resolve().is_relative_to(out.resolve()):
                raise ConfigError(f"--out {out} would replace {source}, which is read; choose another --out")
        done = (out / "run.json").is_file()
    if not done:
        require_free(out, force=force)


def _bases(inputs: Sequence[str | Path | None]) -> list[str]:
    """Return the bases of those inputs that are adapters, since they are read too."""
    from poisonsieve.data.files import exists
    from poisonsieve.models.safety import ADAPTER_CONFIG, is_adapter
    from poisonsieve.parsing import read_json

    folders = [Path(source) for source in inputs if source and exists(Path(source))]
    named = [
        read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path") for folder in folders if is_adapter(folder)
    ]
    return [str(base) for base in named if base]


def check_output_file(option: str, out: Path, inputs: Sequence[str | Path | None]) -> None:
    """Fail early if a file cannot be written, or would replace its own input.

    Raises:
        ConfigError: `out` is one of `inputs`.
        OutputError: it is a folder, or is in a place that cannot be written to.
    """
    from poisonsieve.data.files import exists
    from poisonsieve.errors import OutputError
    from poisonsieve.storage import reporting_write_errors, require_free

    with reporting_write_errors(out):
        if out.is_dir():
            raise OutputError(f"{option} {out} is a folder; name a file in it")
        for source in inputs:
            if source and out.exists() and exists(Path(source)) and out.samefile(source):
                raise ConfigError(f"{option} {out} would replace {source}, which is read; choose another file")
        if not out.exists():
            require_free(out)


def written(stage: StageResult) -> str:
    """Return where a stage's result is, for people."""
    return f"{stage.out}{' (was already there)' if stage.reused else ''}"
