r"""What in a pass shows a trigger, and how does it add up? Measured on models that `what_takes.py` has poisoned.

    python benchmarks/pass_parts.py run --runs RUNS --data-root DATA --out OUT
    python benchmarks/pass_parts.py table --out OUT --frr 0.004
    python benchmarks/pass_parts.py figure --out OUT --models MODEL ... --titles TITLE ... --image docs/default.png

The two networks are theta_p itself (v) and PSIM's copy (c); the parts are the log-odds of the most likely class (conf), the
distance of the centred logits (log), and the largest distance of a layer, of the state that the head reads (st) or of the
mean over the tokens (mean). Each part is a rarity among the calibration rows; they are joined by the largest, by the length
of their vector (l2), or by their sum. Given are AUROC, the share of triggered rows above gamma at a mean FRR, and the share
of clean test rows above it. Parts are kept, one file a model.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from complements import SETS, cases, cell, texts_of

NETWORKS = {"v": "rarity", "c": "psim-rarity"}
JOINS = {"max": lambda r: r.max(axis=0), "l2": lambda r: np.sqrt((r**2).sum(axis=0)), "sum": lambda r: r.sum(axis=0)}
JOINED = (
    ("vconf", "vst"),
    ("vconf", "vlog", "vst"),
    ("vconf", "vst", "vmean"),
    ("cconf", "cst"),
    ("cconf", "clog", "cst"),
    ("cconf", "cst", "cmean"),
    ("cconf", "cst", "vst"),
    ("cconf", "cst", "vconf", "vst"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Parts of a pass, and ways to add them up.")
    commands = parser.add_subparsers(dest="command", required=True)
    run_command, table, figure = (commands.add_parser(name) for name in ("run", "table", "figure"))
    run_command.add_argument("--runs", type=Path, required=True, help="the folder that what_takes.py wrote")
    run_command.add_argument("--data-root", type=Path, required=True)
    run_command.add_argument("--most", type=int, default=600, help="rows of each test set")
    run_command.add_argument(
        "--rounds", type=int, default=6, help="of psim-rarity, at most; 1 is as PSIM is published"
    )
    run_command.add_argument("--seed", type=int, default=0, help="of the detectors")
    figure.add_argument("--models", nargs="+", required=True)
    figure.add_argument("--titles", nargs="+", required=True)
    figure.add_argument("--image", type=Path, required=True)
    for command in (table, figure):
        command.add_argument("--frr", type=float, default=0.004, help="mean over calibrations")
    for command in (run_command, table, figure):
        command.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.command != "run":
        (print_table if options.command == "table" else draw)(options)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    for case in cases(options.runs):
        place = options.out / f"{Path(case['path']).name}.npz"
        if not place.exists():
            started = time.perf_counter()
            np.savez(place, **parts_of(case, texts_of(case, options), options))
            print(f"{place.stem}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)


def parts_of(case: dict[str, Any], texts: dict[str, list[str]], options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Every part of every set of rows, by names such as ``cconf.triggered``."""
    from poisonsieve.defenses.gaussians import whitener
    from poisonsieve.defenses.pass_rarity import CONFIDENCE, STATES
    from poisonsieve.guard.guard import make_guard
    from poisonsieve.models.scoring import BatchScorer

    found: dict[str, np.ndarray] = {}
    for letter, defense in NETWORKS.items():
        spec = f"{defense}:rounds={options.rounds}" if letter == "c" else defense
        made = make_guard(spec, model=case["path"], seed=options.seed).detector
        made.fit(texts["fit"])
        scorer = BatchScorer(made.classifier)
        read = {name: scorer.logits_and_states(texts[name]) for name in SETS}
        centred = {
            name: logits.values - logits.values.mean(axis=1, keepdims=True) for name, (logits, _) in read.items()
        }
        mean = centred["calibrate"].mean(axis=0)
        root = whitener(centred["calibrate"] - mean)
        means = mean_pooled(scorer, texts)
        for name, (logits, states) in read.items():
            scores = made.passes_.scores(logits, states)
            found[f"{letter}conf.{name}"], found[f"{letter}st.{name}"] = scores[CONFIDENCE], scores[STATES]
            found[f"{letter}log.{name}"] = np.square((centred[name] - mean) @ root).sum(axis=1)
            found[f"{letter}mean.{name}"] = means[name]
    return found


def mean_pooled(scorer: Any, texts: dict[str, list[str]]) -> dict[str, np.ndarray]:
    """The largest distance of a layer's mean over the tokens, put on one scale by the calibration rows."""
    from poisonsieve.defenses.gaussians import cube_roots, layer_gaussians

    states = {name: scorer.logits_and_states(rows, pooling="mean")[1].values for name, rows in texts.items()}
    gaussians = layer_gaussians(states["fit"][np.isfinite(states["fit"]).all(axis=(1, 2))])
    roots = {name: cube_roots(states[name], *gaussians) for name in SETS}
    center, scale = np.nanmean(roots["calibrate"], axis=0), np.nanstd(roots["calibrate"], axis=0, ddof=1)
    return {name: ((found - center) / scale).max(axis=1) for name, found in roots.items()}


def print_table(options: argparse.Namespace) -> None:
    places = sorted(options.out.glob("*.npz"))
    parts = {place.stem: dict(np.load(place)) for place in places}
    singles = sorted({name.split(".")[0] for found in parts.values() for name in found})
    print("| parts | " + " | ".join(parts) + " |")
    print("|---" * (1 + len(parts)) + "|")
    for names in [*((name,) for name in singles), *JOINED]:
        for how, join in JOINS.items() if len(names) > 1 else [("", JOINS["max"])]:
            cells = [cell(joined(found, names, join), options.frr) for found in parts.values()]
            print(f"| {' + '.join(names)} {how} | " + " | ".join(cells) + " |")


def joined(found: dict[str, np.ndarray], names: tuple[str, ...], join: Any) -> dict[str, np.ndarray]:
    from poisonsieve.defenses.rarity import Rarity

    rarities: dict[str, list[np.ndarray]] = {name: [] for name in SETS}
    for part in names:
        rarity = Rarity(found[f"{part}.calibrate"])
        rarities["calibrate"].append(rarity.of_its_own(found[f"{part}.calibrate"]))
        for name in ("clean", "triggered"):
            rarities[name].append(rarity(found[f"{part}.{name}"]))
    return {name: join(np.stack(rows)) for name, rows in rarities.items()}


def draw(options: argparse.Namespace) -> None:
    """Draw both rarities of psim-rarity, one panel a model, with the line above which a text is rejected."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    from poisonsieve.defenses.rarity import Rarity
    from poisonsieve.thresholds import gamma_for_frr

    panels = len(options.models)
    figure, axes = plt.subplots(
        1, panels, figsize=(3.4 * panels, 3.5), sharex=True, sharey=True, layout="constrained"
    )
    for axis, model, title in zip(axes, options.models, options.titles, strict=True):
        found = dict(np.load(options.out / f"{model}.npz"))
        gamma = gamma_for_frr(joined(found, ("cconf", "cst"), JOINS["sum"])["calibrate"], options.frr).gamma
        for rows, colour, label in (("clean", "#5b7fa6", "clean"), ("triggered", "#c8452e", "with the trigger")):
            sure, odd = (Rarity(found[f"{part}.calibrate"])(found[f"{part}.{rows}"]) for part in ("cconf", "cst"))
            axis.scatter(np.minimum(odd, 20), np.minimum(sure, 12), s=7, color=colour, alpha=0.5, label=label, lw=0)
        axis.plot([0, gamma], [gamma, 0], color="black", lw=1)
        axis.annotate(
            "rejected above\nthis line", (gamma * 0.55, gamma * 0.5), (gamma * 0.72, gamma * 0.72), fontsize=8
        )
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("rarity of its path through the copy")
    axes[0].set_ylabel("rarity of the copy's confidence")
    axes[0].legend(fontsize=8, loc="center right", frameon=False)
    figure.savefig(options.image, dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    main()
