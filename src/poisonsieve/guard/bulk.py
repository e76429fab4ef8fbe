"""Screen folders larger than memory: Ray Data reads, judges and writes them in pieces, on one machine or many.

Files go row by row through the same reader as a single file, so an unreadable row is rejected here too and stops
nothing. Guard and victim are opened once per worker. Memory holds a few pieces of `CHUNK` rows per worker, however
many rows there are.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poisonsieve.cluster import connect, no_tracebacks, telling_cause
from poisonsieve.data.columns import AS_USUAL, Columns
from poisonsieve.data.files import extensions, format_of
from poisonsieve.data.inputs import read_inputs
from poisonsieve.data.left_out import refuse_left_out
from poisonsieve.data.shards import require_whole
from poisonsieve.errors import CheckpointError, DataError
from poisonsieve.guard.common_ground import Comparison
from poisonsieve.guard.folder import read_calibration
from poisonsieve.guard.screening import CHUNK
from poisonsieve.models.openvino import check_backend
from poisonsieve.records import parquet
from poisonsieve.storage import require_free, writing_folder
from poisonsieve.thresholds import RULES
from poisonsieve.verdict import OUTCOMES, Tally

if TYPE_CHECKING:
    import pyarrow as pa

    from poisonsieve.guard import GuardedClassifier

_PIECE_BYTES = 8 * 2**20  # maximum size of a piece passed from one step to the next
_COMPARED = 1_000_000  # records that are read again to find what the poisoned ones have in common
_STORE_BYTES = 128 * 2**20  # maximum total size of the pieces waiting between the steps


def screen_folder(
    source: str,
    guard: Path,
    victim: str | None,
    out: Path,
    options: dict[str, Any],
    *,
    address: str | None = None,
    workers: int = 1,
    gpus: float = 0,
    columns: Columns = AS_USUAL,
    with_text: bool = True,
    progress: bool = False,
) -> dict[str, Any]:
    """Write a verdict on every row of every file, as Parquet.

    Args:
        source: a folder of JSONL, CSV, TSV and Parquet files, gzipped or not, or one such file.
        guard: a guard folder that every node can read.
        victim: the model that classifies what passes; None: verdicts only.
        out: folder for the records, written whole or not at all. Columns: `file`, `index` and `line` within it,
            the text if requested, and the fields of a `Verdict`.
        options: `base`, `allow_pickle`, `backend` and `reject_truncated` as for `GuardedClassifier.from_pretrained`;
            `frr`, `frr_mean` or `gamma` for another threshold.
        address: address of a Ray cluster; None starts one here.
        workers: number of copies of guard and victim.
        gpus: GPUs per copy.
        columns: names of the text and id columns; an id is returned in each record, as text.
        with_text: include the texts in the records.
        progress: let Ray draw its progress bars.

    Returns:
        Counts of rows in total, passed, poisoned, not scored and truncated; gamma and what is promised with it; the
        seconds taken; and what poisoned texts have in common, see `in_common`, which is None without texts in the
        records.

    Raises:
        DataError: there is no file to screen, a file has no text column or is not in the format its name says, a shard
            is missing, or some data would go unread.
        ConfigError, OutputError: `out` is taken or cannot be written; there is no cluster at the address.
        UnsupportedError: Ray is not installed, or what `backend` needs.
        PoisonsieveError: guard or victim cannot be opened.
    """
    files = files_to_screen(Path(source))
    opening = {**options, "base": _everywhere(options.get("base"))}
    check_backend(options.get("backend") or "torch")
    require_free(out)
    _check_beginnings(files, columns)
    promised = _promised(guard, _rule(options))
    started = time.perf_counter()
    worker = (str(guard.absolute()), _everywhere(victim), opening, with_text, columns.id is not None)
    with _connected(address, progress) as ray:
        screened = _records(ray, files, worker, columns, workers, gpus)
        with telling_cause(), no_tracebacks(progress), writing_folder(out) as target:
            screened.write_parquet(str(target))
            summary = {**summary_of(target), "promised": promised}
            summary["in_common"] = in_common(target) if with_text else None
    return {**summary, "seconds": time.perf_counter() - started}


@contextlib.contextmanager
def _connected(address: str | None, progress: bool) -> Iterator[Any]:
    """Hold a connection to a cluster, set up for screening."""
    ray = connect(address, progress=progress)
    try:
        _set_up(ray, progress)
        yield ray
    finally:
        ray.shutdown()


def _records(
    ray: Any, files: Sequence[Path], worker: tuple[Any, ...], columns: Columns, workers: int, gpus: float
) -> Any:
    """Return the records of these files as a lazy Ray data set, computed when it is written."""
    texts = ray.data.from_items([{"file": str(file)} for file in files], override_num_blocks=len(files)).map_batches(
        rows_of, fn_kwargs={"columns": columns}, batch_size=1, batch_format="numpy"
    )
    return texts.map_batches(
        Screener,
        fn_constructor_args=worker,
        batch_size=CHUNK,
        batch_format="pyarrow",
        num_gpus=gpus,
        compute=ray.data.ActorPoolStrategy(size=workers),
    )


def _check_beginnings(files: Iterable[Path], columns: Columns) -> None:
    """Read one row of every file, so that a file unusable as a whole is reported at once, before Ray starts.

    Raises:
        DataError: a file is not in the format its name says.
    """
    for file in files:
        next(read_inputs(str(file), columns), None)


def _set_up(ray: Any, progress: bool) -> None:
    """Configure Ray: small pieces, few in flight, row order kept, and errors raised as they are."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = progress
    context.raise_original_map_exception = True  # otherwise Ray replaces a worker's error by one without its message
    context.target_max_block_size = _PIECE_BYTES
    context.execution_options.preserve_order = True
    context.execution_options.resource_limits = context.execution_options.resource_limits.copy(
        object_store_memory=_STORE_BYTES
    )


class Screener:
    """Guard and victim, opened once per worker; each call judges one piece.

    They are opened with the first piece, not in the constructor: Ray passes on an error raised in a call, but only the
    traceback of one raised in a constructor.

    Args:
        guard, victim, options: see `screen_folder`.
        with_text: keep the texts in the records.
        with_id: keep the ids in the records.
    """

    def __init__(
        self, guard: str, victim: str | None, options: dict[str, Any], with_text: bool, with_id: bool = False
    ) -> None:
        self._paths = guard, victim
        self._options = options
        self.with_text = with_text
        self.with_id = with_id

    @functools.cached_property
    def guarded(self) -> GuardedClassifier:
        """Guard and victim, with the requested threshold.

        Raises:
            PoisonsieveError: they cannot be opened, or the threshold is not available.
        """
        from poisonsieve.guard import GuardedClassifier

        options = self._options
        names = ("base", "allow_pickle", "backend", "reject_truncated")
        opening = {key: options[key] for key in names if options.get(key) is not None}
        guarded = GuardedClassifier.from_pretrained(*self._paths, **opening)
        rule = _rule(options)
        if rule:
            guarded.guard.set_threshold(**rule)
        return guarded

    def __call__(self, piece: pa.Table) -> pa.Table:
        """Return the records of one piece: a table with `file`, `index`, `line`, `text` and `error`."""
        import pyarrow as pa

        columns = piece.to_pydict()
        verdicts = [verdict.to_dict() for verdict in self.guarded.screen_read(columns["text"], columns["error"])]
        wanted = {"text": self.with_text, "id": self.with_id}
        kept = [name for name in ("file", "index", "line", "id", "text") if wanted.get(name, True)]
        records = {name: columns[name] for name in kept}
        # One schema for all pieces: a piece without any label would otherwise get a column of another type.
        schema = parquet.schema(with_text=self.with_text, with_id=self.with_id).insert(
            0, pa.field("file", pa.string())
        )
        records |= {name: [verdict.get(name) for verdict in verdicts] for name in schema.names if name not in records}
        return pa.table(records, schema=schema)


def rows_of(files: dict[str, Any], columns: Columns = AS_USUAL) -> Iterator[pa.Table]:
    """Yield the rows of files in pieces; a file is never in memory as a whole."""
    import pyarrow as pa

    schema = pa.schema(
        [
            ("file", pa.string()),
            ("index", pa.int64()),
            ("line", pa.int64()),
            ("id", pa.string()),
            ("text", pa.string()),
            ("error", pa.string()),
        ]
    )
    for file in files["file"]:
        rows = read_inputs(str(file), columns)
        while piece := list(itertools.islice(rows, CHUNK)):
            values = {name: [getattr(row, name) for row in piece] for name in schema.names[1:]}
            values["id"] = [None if identity is None else str(identity) for identity in values["id"]]
            yield pa.table({"file": [str(file)] * len(piece), **values}, schema=schema)


def _everywhere(model: str | None) -> str | None:
    """Return a model folder's absolute path, since workers have another working directory; a hub id unchanged."""
    return str(Path(model).absolute()) if model is not None and Path(model).exists() else model


def files_to_screen(source: Path) -> list[Path]:
    """Return the files to screen, sorted by name.

    Raises:
        DataError: there are none, a shard is missing, or some data would go unread.
    """
    if source.is_file():
        files = [source] if format_of(source) else []
    else:
        every = sorted(path for path in source.rglob("*") if path.is_file())
        for _, within in itertools.groupby(sorted(every, key=_folder), _folder):
            refuse_left_out(within)
        files = [path for path in every if format_of(path)]
        require_whole(files)
    if not files:
        raise DataError(f"{source} holds no file to screen; use {extensions()}")
    return [path.absolute() for path in files]


def _rule(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the threshold's rule among the options; empty for the guard's own."""
    return {key: options[key] for key in RULES if options.get(key) is not None}


def _promised(guard: Path, rule: Mapping[str, Any]) -> str:
    """Return what a guard folder promises about clean text, perhaps by another rule than its own.

    Raises:
        CheckpointError, CalibrationError: see `read_calibration`; or the guard has no threshold.
    """
    calibration = read_calibration(guard)
    threshold = (calibration.choose(**rule) if rule else calibration).threshold
    if threshold is None:
        raise CheckpointError(f"{guard} has no threshold; give --frr, --frr-mean or --gamma")
    return threshold.promise


def _folder(file: Path) -> Path:
    return file.parent


def summary_of(folder: Path) -> dict[str, Any]:
    """Count the written records, reading only the columns that are counted."""
    from pyarrow import compute, dataset

    written = dataset.dataset(folder, format="parquet")
    outcomes = {name: written.count_rows(filter=compute.field("outcome") == name) for name in OUTCOMES}
    tally = Tally(outcomes, written.count_rows(filter=compute.field("truncated")))
    gamma = written.head(1, columns=["gamma"])["gamma"].to_pylist()
    return {**tally.to_dict(), "gamma": gamma[0] if gamma else None}


def in_common(folder: Path) -> list[dict[str, Any]]:
    """Return what the poisoned texts of written records have in common, see `poisonsieve.guard.common_ground`.

    At most `_COMPARED` records are read, from files drawn by chance.
    """
    from pyarrow import dataset

    comparison, left = Comparison(), _COMPARED
    fragments = list(dataset.dataset(folder, format="parquet").get_fragments())
    random.Random(0).shuffle(fragments)
    for fragment in fragments:
        for batch in fragment.to_batches(columns=["text", "outcome"]):
            for text, outcome in zip(*batch.to_pydict().values(), strict=True):
                comparison.add(text, outcome)
            left -= batch.num_rows
        if left <= 0:
            break
    return [group.to_dict() for group in comparison.groups()]
