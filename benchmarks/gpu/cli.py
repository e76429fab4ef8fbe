"""The kit's commands."""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gpu.parts import LARGEST_PART, MEBIBYTE, KitError

if TYPE_CHECKING:
    from gpu.place import Place


def main(arguments: list[str] | None = None) -> None:
    """Run one of the commands; what the user has to mend is one line on stderr and exit code 2."""
    options = _parse(arguments)
    try:
        options.do(options)
    except KitError as error:
        _refuse(error)
    except Exception as error:
        if type(error).__module__ != "poisonsieve.errors":
            raise
        _refuse(error)


def _refuse(error: Exception) -> None:
    sys.stderr.write(f"error: {error}\n")
    raise SystemExit(2)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/gpu", description="Measurements on a GPU without a network."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    probe = commands.add_parser("probe", help="print what this machine has, as JSON")
    probe.set_defaults(do=_probe)

    pack = commands.add_parser("pack", help="write the kit in parts, on a machine with a network")
    pack.add_argument(
        "--assume", type=Path, required=True, metavar="FILE", help="what probe.py printed on the target"
    )
    pack.add_argument("--out", type=Path, required=True, help="an absent or empty folder")
    pack.add_argument(
        "--config", type=Path, default=Path("core"), help="a grid's file, or the name of one that ships"
    )
    pack.add_argument("--scale", help="of the grid's file; of the core grid: gpu")
    pack.add_argument("--data-root", type=Path, help="what {data} stands for in the grid's file")
    pack.add_argument(
        "--extra", action="append", default=[], help="an optional dependency of poisonsieve to carry too"
    )
    pack.add_argument(
        "--replace", action="append", default=[], metavar="PACKAGE", help="carry it although the target has it"
    )
    pack.add_argument(
        "--model", action="append", default=[], help="a model to carry beside those that the grid names"
    )
    pack.add_argument("--wheels", type=Path, metavar="FOLDER", help="wheels of your own to carry")
    pack.add_argument("--part-mib", type=int, default=LARGEST_PART // MEBIBYTE, help="size of a part, at most")
    pack.set_defaults(do=_pack)

    run = commands.add_parser("run", help="measure, on the target; start.py calls it")
    _common(run)
    run.add_argument("--seconds", type=float, help="end in that time, counted from the start of the call")
    run.add_argument("--payloads", default="roofline,grid,speed", help="in the order in which they are wanted")
    run.add_argument("--grid-seconds", type=float, help="what the grid may take of the time")
    run.add_argument("--out", type=Path, help="copy the results there after every stage")
    run.add_argument("--earlier", type=Path, metavar="FOLDER", help="results of an earlier call, to go on from")
    run.set_defaults(do=_run)

    step = commands.add_parser("step", help="one stage, in this process; `run` calls it")
    step.add_argument("name", choices=("check", "roofline", "share-child", "speed"))
    step.add_argument("--case", default="", help="of speed: MODEL,WHAT,BITS")
    _common(step)
    step.set_defaults(do=_step)

    report = commands.add_parser("report", help="turn results into a page")
    report.add_argument("results", type=Path, nargs="+", help="folders that calls brought back")
    report.add_argument("--out", type=Path, required=True, help="Markdown to write: docs/results/gpu-speed.md")
    report.set_defaults(do=_report)

    collect = commands.add_parser("collect", help="put the cells of calls together, for `poisonsieve bench table`")
    collect.add_argument("results", type=Path, nargs="+", help="folders that calls brought back")
    collect.add_argument("--out", type=Path, required=True, help="a folder; give it to `bench table`")
    collect.set_defaults(do=_collect)
    return parser.parse_args(arguments)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, required=True, help="the folder that start.py unpacked into")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--tiny", action="store_true", help="sizes of a dry run, which says nothing of speed")


def _place(options: argparse.Namespace) -> "Place":
    from gpu.place import Place

    return Place(options.work.absolute(), options.device, options.tiny)


def _probe(options: argparse.Namespace) -> None:
    from gpu.probe import probe

    del options
    print(json.dumps(probe(), indent=1))


def _pack(options: argparse.Namespace) -> None:
    from gpu.pack import pack, size_of

    try:
        target = json.loads(options.assume.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise KitError(f"{options.assume} is not what probe.py prints: {error}") from None
    manifest = pack(
        options.config, target=target, out=options.out, scale=options.scale, data_root=options.data_root,
        extras=options.extra, replace=options.replace, models=options.model, wheels=options.wheels,
        largest=options.part_mib * MEBIBYTE,
    )  # fmt: skip
    for line in manifest["differing"]:
        print(f"note: {line}")
    for part in sorted(options.out.iterdir()):
        print(f"{part}: {size_of(part) / MEBIBYTE:.1f} MiB")
    cells = sum(group["cells"] for group in manifest["grid"]["groups"])
    print(
        f"kit {manifest['kit']}: {len(manifest['grid']['groups'])} groups of {cells} cells, {', '.join(manifest['models'])}"
    )


def _run(options: argparse.Namespace) -> None:
    from gpu.clock import Clock
    from gpu.run import run, take_along

    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that what runs is ended, too
    place = _place(options)
    clock = Clock(float(os.environ.get("POISONSIEVE_KIT_BEGAN", time.time())), options.seconds)
    if options.earlier is not None:
        take_along(place, options.earlier)
    payloads = [name for name in options.payloads.split(",") if name]
    if not run(place, clock, payloads, grid_seconds=options.grid_seconds, out=options.out):
        raise SystemExit(1)


def _step(options: argparse.Namespace) -> None:
    place = _place(options)
    if options.name == "check":
        from gpu.check import check

        check(place)
    elif options.name == "roofline":
        from gpu.roofline import roofline

        roofline(place)
    elif options.name == "share-child":
        from gpu.share import child

        child(place)
    else:
        from gpu.speed import speed

        speed(place, options.case)


def _report(options: argparse.Namespace) -> None:
    from gpu.report import write_report

    write_report(options.results, options.out)


def _collect(options: argparse.Namespace) -> None:
    from gpu.collect import collect

    print(collect(options.results, options.out))
