r"""How well do texts give each other away? `screen --together` on drawn files, with a trigger in a share of them or none.

    python benchmarks/traffic.py --model theta_p --reference dev.jsonl --clean test.jsonl --trigger badnet --target 0 \
        --other cr=cr/test.jsonl --other imdb=imdb/test.jsonl --states states/ --out traffic.jsonl
    python benchmarks/traffic.py --model theta_p ... --triggered synbkd/test.jsonl --target 1

Each file is drawn anew, and so are the clean rows that it is compared with. There are these kinds of files:

- `triggered`: clean test rows, a share of them replaced by triggered ones; share 0 gives the false alarms;
- `NAME`: clean text of another domain, in the whole file or in a share of it;
- `classes`: clean test rows, with three quarters of the second class left out.

Every set is read once and kept under --states; a run that was stopped goes on where it was. Rows that theta_p was trained on
do not belong in --reference, --clean or --other.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from poisonsieve import load_dataset, make_trigger, trigger_rows
from poisonsieve.guard.reference import Reading, Reference, read
from poisonsieve.guard.traffic import against
from poisonsieve.thresholds import CONFIDENCE, Threshold

#: The rule of a guard that was fitted with the defaults.
DEFAULT_RULE = Threshold(0.0, "frr", 0.01, 500, (0.0, 0.02), CONFIDENCE)


def main() -> None:
    options = parse()
    sets = {name: states_of(name, options) for name in ("reference", "clean", "triggered", *options.other)}
    done = {key(line) for line in lines(options.out)}
    with options.out.open("a", encoding="utf-8") as stream:
        for cell in cells(options):
            if key(cell) not in done:
                stream.write(json.dumps({**cell, **measured(cell, sets, options)}) + "\n")
                stream.flush()
    show(lines(options.out))


def parse() -> argparse.Namespace:
    made = parser("What `screen --together` finds in drawn files.")
    made.add_argument("--texts", type=int, nargs="+", default=[200, 1000], help="texts of a file")
    made.add_argument("--shares", type=float, nargs="+", default=[0.02, 0.05, 0.1, 0.33])
    made.add_argument("--draws", type=int, default=10, help="files of a kind")
    made.add_argument("--clean-draws", type=int, default=100, help="files without a trigger, of the same domain")
    made.add_argument("--permutations", type=int, default=199, help="of each file; the command takes 999")
    return prepared(made)


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser of the arguments that say what is read by which model."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--model", required=True, help="theta_p or a victim")
    for name in ("reference", "clean"):
        made.add_argument(f"--{name}", required=True, help="clean rows of the task")
    made.add_argument("--trigger", help="put into the clean test rows")
    made.add_argument("--triggered", type=Path, help="triggered rows with their true labels, instead")
    made.add_argument("--target", type=int, default=0, help="the class the attacker wants")
    made.add_argument("--other", action="append", default=[], help="NAME=DATA: clean rows of another domain")
    made.add_argument("--rows", type=int, default=500, help="clean rows to compare with")
    made.add_argument("--states", type=Path, required=True, help="folder for the states of each set")
    made.add_argument("--out", type=Path, required=True, help="JSON lines")
    return made


def prepared(made: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse, and make the places for results."""
    options = made.parse_args()
    if (options.trigger is None) == (options.triggered is None):
        made.error("give exactly one of --trigger and --triggered")
    options.other = dict(pair.split("=", 1) for pair in options.other)
    options.states.mkdir(parents=True, exist_ok=True)
    options.out.touch()
    return options


def states_of(name: str, options: argparse.Namespace) -> Reading:
    """What the model says of a set, read once."""
    place = options.states / f"{name}.npz"
    if not place.is_file():
        from poisonsieve import load_classifier

        texts = list(dict.fromkeys(texts_of(name, options)))
        print(f"reading {len(texts)} texts: {name}", file=sys.stderr)
        network = load_classifier(options.model)
        found = read(network, texts, Reference.layers_of(network.states_shape[0]))
        np.savez(place, states=found.states, classes=found.classes, known=found.known)
    kept = np.load(place)
    known = kept["known"]
    return Reading(kept["states"][known], kept["classes"][known], known[known])


def texts_of(name: str, options: argparse.Namespace) -> list[str]:
    if name == "triggered" and options.triggered:
        rows = [json.loads(line) for line in options.triggered.read_text(encoding="utf-8").splitlines()]
        return [row.get("text", row.get("sentence")) for row in rows if int(row["label"]) != options.target]
    if name == "triggered":
        clean = load_dataset(options.clean)
        return list(trigger_rows(clean, make_trigger(options.trigger), target=options.target, seed=0).rows["text"])
    return list(load_dataset(options.other.get(name) or getattr(options, name))["text"])


def cells(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the files to draw: what is in them beside clean rows, in which share."""
    kinds = [("triggered", share) for share in (0.0, *options.shares)]
    kinds += [(name, share) for name in options.other for share in (0.1, 0.33, 1.0)] + [("classes", 0.0)]
    for texts, (kind, share) in itertools.product(options.texts, kinds):
        draws = options.clean_draws if (kind, share) == ("triggered", 0.0) else options.draws
        for draw in range(draws):
            yield {"texts": texts, "kind": kind, "share": share, "draw": draw}


def measured(cell: dict[str, Any], sets: dict[str, Reading], options: argparse.Namespace) -> dict[str, Any]:
    """Draw a file and compare it; rates over its triggered and its clean texts."""
    rng = np.random.default_rng([cell["draw"], cell["texts"], round(1000 * cell["share"])])
    rows = drawn(sets["reference"], options.rows, rng)
    strangers = drawn(sets.get(cell["kind"], sets["triggered"]), round(cell["share"] * cell["texts"]), rng)
    clean = sets["clean"]
    if cell["kind"] == "classes":
        clean = picked(clean, (clean.classes != 1) | (rng.random(len(clean.classes)) < 0.25))
    clean = drawn(clean, cell["texts"] - len(strangers.classes), rng)
    file = Reading(*(np.concatenate(pair) for pair in zip(vars_of(clean), vars_of(strangers), strict=True)))
    reference = Reference(rows.states, rows.classes, np.arange(rows.states.shape[1]))
    found = against(reference, file, DEFAULT_RULE, seed=cell["draw"], permutations=options.permutations)
    count, reached = len(clean.classes), strangers.classes == options.target
    ours, theirs = found.flagged[:count], found.flagged[count:]
    return {
        **{
            name: getattr(found, name) for name in ("finding", "p_value", "apart", "above", "above_of_label", "label")
        },
        "clean_flagged": float(ours.mean()) if len(ours) else None,
        "flagged": float(theirs.mean()) if len(theirs) else None,
        "reached_flagged": float(theirs[reached].mean()) if reached.any() else None,
    }


def vars_of(found: Reading) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return found.states, found.classes, found.known


def picked(found: Reading, places: np.ndarray) -> Reading:
    return Reading(*(part[places] for part in vars_of(found)))


def drawn(found: Reading, count: int, rng: np.random.Generator) -> Reading:
    return picked(found, rng.permutation(len(found.classes))[:count])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def key(cell: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(cell[name] for name in ("texts", "kind", "share", "draw"))


def show(found: Sequence[dict[str, Any]]) -> None:
    """Print a line a kind of file: findings, and mean rates over the files."""
    kinds: dict[tuple[Any, ...], list[dict[str, Any]]] = collections.defaultdict(list)
    for line in found:
        kinds[line["texts"], line["kind"], line["share"]].append(line)
    for (texts, kind, share), group in sorted(kinds.items()):
        findings = ", ".join(
            f"{name} {n}" for name, n in collections.Counter(g["finding"] for g in group).most_common()
        )
        significant = np.mean([line["p_value"] <= 0.01 for line in group])
        rates = "  ".join(
            f"{name} {np.mean(known):.3f}"
            for name in ("flagged", "reached_flagged", "clean_flagged")
            if (known := [line[name] for line in group if line[name] is not None])
        )
        print(f"{texts:5d} texts, {kind:9s} {share:4.0%}: {findings}; p <= 0.01 {significant:.2f}  {rates}")


if __name__ == "__main__":
    main()
