"""Turns records into docs/results/gpu-speed.md: what was measured, where, and nothing else."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from gpu.grid import CELLS, axes_of, read_cells
from gpu.parts import KitError
from gpu.place import RECORDS, read_records

Record = dict[str, Any]
_DRY = "**A dry run: it shows that the kit works, and its figures say nothing of speed.**"


def write_report(results: list[Path], out: Path) -> None:
    """Write the page.

    Args:
        results: folders that calls brought back; of a thing measured twice, the last counts.
        out: Markdown file.

    Raises:
        KitError: a folder has no records, or they are of several devices, whose figures may not be mixed.
    """
    records: list[Record] = []
    for folder in results:
        found = read_records(folder / RECORDS)
        if not found:
            raise KitError(f"{folder} has no {RECORDS}; give folders that calls brought back")
        records += found
    devices = sorted({record["device"] for record in records if record["kind"] == "roofline"})
    if len(devices) > 1:
        raise KitError(f"these are results of {', '.join(devices)}; make a page for each")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page(records, _cells_done(results)), encoding="utf-8")


def page(records: list[Record], cells: int) -> str:
    """The page as Markdown; `cells` of the grid are done."""
    parts = [
        "# Speed on a GPU",
        "Made by `python benchmarks/gpu report` from the records of that kit; its README says how they come about.",
        *([_DRY] if any(record["tiny"] for record in records) else []),
        *(_card(record) for record in _last(records, "card", lambda record: record["device"])),
        *(_machine(record) for record in _last(records, "machine", lambda record: record["kit"])),
    ]
    for heading, make in (
        ("Does the card compute what the processor computes?", _checks),
        ("What the card can do", _roofline),
        ("Small trainings that share it", _shares),
        ("The grid", partial(_grid, cells=cells)),
        ("Large models", _speeds),
    ):
        text = make(records)
        if text:
            parts += [f"## {heading}", text]
    return "\n\n".join(parts) + "\n"


def _card(record: Record) -> str:
    card = record["gpu"]
    return (
        f"{card['name']}, {card['memory_gib']} GiB, CUDA {card['cuda']}."
        if card
        else "The processor stood in for a card."
    )


def _machine(record: Record) -> str:
    found = ", ".join(f"{name} {version}" for name, version in record["packages"].items())
    line = f"{record['cores']} cores; Python {record['python']}; {found} ({record['at'][:10]}, kit {record['kit']})."
    return "\n".join([line, *([""] if record["differing"] else []), *(f"- {each}" for each in record["differing"])])


def _checks(records: list[Record]) -> str:
    rows = [
        [record["what"], f"{record['share']:.1e}", "yes" if record["holds"] else "**no**"]
        for record in _last(records, "check", lambda record: record["what"])
    ]
    return _table(["what", "largest difference, of the largest value", "within 1e-3"], rows)


def _roofline(records: list[Record]) -> str:
    rows = []
    for record in _last(records, "roofline", lambda record: (record["what"], record.get("precision"))):
        if record["what"] == "matrix":
            size = record["size"]
            rows.append(
                [f"matrix product, {record['precision']}, {size} x {size}", f"{record['teraflops']:.3g} TFLOP/s"]
            )
        elif record["what"] == "memory":
            rows.append(["copy within memory, read and written", f"{record['gigabytes_a_second']:.0f} GB/s"])
        else:
            rows.append(["starting a kernel", f"{record['microseconds']:.2f} µs"])
    return _table(["what", "rate"], rows)


def _shares(records: list[Record]) -> str:
    found = _last(records, "share", lambda record: (record["how"], record["count"]))
    rows = [
        [
            f"{record['count']} {'processes' if record['how'] == 'processes' else 'models in one step'}",
            f"{record['rows_a_second']:.0f}",
        ]
        for record in found
    ]
    text = _table(["how", "training rows/s, all together"], rows)
    return (
        text
        and text
        + "\n\nProcesses tokenize, train and score; models in one step only train, which is their upper bound."
    )


def _grid(records: list[Record], *, cells: int) -> str:
    """Count cells, not groups: what a call finished of a group counts, and the next goes on there."""
    ends = [record for record in records if record["kind"] == "grid" and record["what"] == "end"]
    minutes = sum(record["minutes"] for record in ends)
    if not minutes:
        return ""
    groups = sum(record["kind"] == "group" and record["status"] == "done" for record in records)
    counts = ", ".join(sorted({str(record["processes"]) for record in ends}))
    return (
        f"{cells} cells, with {groups} groups of them whole, in {minutes:.1f} minutes by {counts} processes: "
        f"{cells / minutes:.1f} cells a minute."
    )


def _cells_done(results: list[Path]) -> int:
    """Count the cells that are done in any of the folders, each once."""
    lines = (line for folder in results for line in read_cells(folder / CELLS) if "cell" in line)
    return len({axes_of(line["cell"]) for line in lines if line["cell"]["status"] == "done"})


def _speeds(records: list[Record]) -> str:
    rows = [
        [
            record["model"],
            f"{record['what']}{', ' + record['how'] if 'how' in record else ''}",
            "4" if record["bits"] == 4 else record["precision"],
            str(record["tokens"]),
            f"{record['rows_a_second']:.3g}",
            f"{record['teraflops']:.3g}",
            "" if record["share"] is None else f"{record['share']:.0%}",
            "" if record["memory_gib"] is None else f"{record['memory_gib']:.1f}",
        ]
        for record in _last(
            records, "speed", lambda record: (record["model"], record["what"], record["bits"], record.get("how"))
        )
    ]
    heads = [
        "model",
        "what",
        "precision or bits",
        "tokens a row",
        "rows/s",
        "TFLOP/s",
        "of the measured rate",
        "GiB at most",
    ]
    text = _table(heads, rows)
    return (
        text and text + "\n\nEvery row fills its length with text. Weights are random; speed does not depend on them."
    )


def _last(records: Iterable[Record], kind: str, key: Callable[[Record], Any]) -> list[Record]:
    """Records of a kind, of those with one key the last, in the order in which keys first came."""
    return list({key(record): record for record in records if record["kind"] == kind}.values())


def _table(heads: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
