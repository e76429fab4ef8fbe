"""Where a call works: the unpacked kit, the records of what was done, the device."""

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu.parts import missing, read_manifest

RECORDS = "records.jsonl"


@dataclass(frozen=True)
class Place:
    """The work folder of a kit on its target.

    Attributes:
        work: the folder.
        device: ``auto``, ``cpu`` or ``cuda``.
        tiny: sizes of a dry run, which shows that everything works and says nothing of speed.
    """

    work: Path
    device: str = "auto"
    tiny: bool = False

    @property
    def manifest(self) -> dict[str, Any]:
        """What was packed."""
        return read_manifest(self.work)

    @property
    def data(self) -> Path:
        """What ``{data}`` stands for."""
        return self.work / "files" / "data"

    @property
    def results(self) -> Path:
        """Everything that is brought back."""
        folder = self.work / "results"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def store(self) -> Path:
        """Where `bench run` keeps what it makes."""
        return self.work / "grid"

    @property
    def log(self) -> Path:
        """What processes print."""
        return self.results / "log.txt"

    def model(self, name: str) -> Path:
        """The folder of a model of the kit."""
        return self.work / "files" / "weights" / name

    def models(self) -> list[str]:
        """Those models that are all here."""
        manifest = self.manifest
        return [name for name in manifest["models"] if not missing(manifest, self.work, f"weights/{name}/")]

    def environment(self, threads: int = 0) -> dict[str, str]:
        """For a process that computes: this device, one card, no hub, the kit's cache."""
        own = dict(os.environ)
        own.setdefault("CUDA_VISIBLE_DEVICES", "0")
        if threads:
            own |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        return own | {
            "POISONSIEVE_DEVICE": self.device,
            "POISONSIEVE_CACHE": str(self.work / "files" / "cache"),
            "HF_HUB_OFFLINE": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONUNBUFFERED": "1",
        }

    def command(self, name: str, *arguments: str) -> list[str]:
        """A step of the kit as a process."""
        given = ["--work", str(self.work), "--device", self.device, *(["--tiny"] if self.tiny else [])]
        return [sys.executable, str(Path(__file__).parent), "step", name, *given, *arguments]

    def rows(self) -> Any:
        """Clean rows with labels, for checks and timings."""
        from poisonsieve import load_dataset

        return load_dataset(self.manifest["grid"]["rows"].replace("{data}", str(self.data)))

    def record(self, kind: str, **values: Any) -> dict[str, Any]:
        """Write one finding down, now."""
        found = {"kind": kind, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "tiny": self.tiny, **values}
        with (self.results / RECORDS).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(found, ensure_ascii=False) + "\n")
        return found

    def records(self, kind: str | None = None) -> list[dict[str, Any]]:
        """What was written down, of one kind or all."""
        return read_records(self.results / RECORDS, kind)


def read_records(file: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """The lines of a file of records. A line that was cut off is left out: its writer was killed."""
    found = []
    for line in file.read_text(encoding="utf-8").split("\n") if file.is_file() else []:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if kind in (None, record["kind"]):
            found.append(record)
    return found
