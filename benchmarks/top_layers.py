r"""How few of its top layers must PSIM's copy own? The layers below are frozen, so that guarded model and copy share them.

    python benchmarks/top_layers.py run --models FOLDER ... --runs RUNS --data-root DATA --out OUT
    python benchmarks/top_layers.py table --out OUT

A copy of a classifier (theta_p, or a victim; encoders of BERT's kind, without virtual tokens) is trained on random labels in
its top k layers, pooler and head alone. Its pass begins with the states that the model below has already computed, so a
guarded answer costs 1 + k / depth passes. k = 0 trains pooler and head. Scored are its confidence (psim), and confidence and
states together (psim-rarity), where the states of the shared layers are the model's own.

The states below the top layers are computed once, and the copies are trained on them. Parts are kept, one file a model and
number of layers.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from pathlib import Path
from typing import Any

from poisonsieve.processors import wait_without_spinning

wait_without_spinning()

import numpy as np  # noqa: E402 - threads are chosen before torch is imported
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from complements import SETS, cell, texts_of  # noqa: E402
from poisonsieve.defenses.pass_rarity import CONFIDENCE, STATES  # noqa: E402

KEPT = (6, 3, 2, 1, 0)
BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description="PSIM's copy with few layers of its own.")
    commands = parser.add_subparsers(dest="command", required=True)
    run_command, table = commands.add_parser("run"), commands.add_parser("table")
    run_command.add_argument(
        "--models", nargs="+", required=True, help="names of what_takes.py, or NAME=FOLDER of a victim"
    )
    run_command.add_argument("--runs", type=Path, required=True, help="the folder that what_takes.py wrote")
    run_command.add_argument("--data-root", type=Path, required=True)
    run_command.add_argument("--most", type=int, default=400, help="rows of each test set")
    run_command.add_argument("--fit-rows", type=int, default=800)
    run_command.add_argument("--layers", type=int, nargs="*", default=KEPT)
    run_command.add_argument("--rates", type=float, nargs="*", default=(1e-4,))
    run_command.add_argument("--epochs", type=int, default=1)
    table.add_argument("--frr", type=float, default=0.01)
    for command in (run_command, table):
        command.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    (print_table if options.command == "table" else run)(options)


def run(options: argparse.Namespace) -> None:
    from poisonsieve import load_classifier

    options.out.mkdir(parents=True, exist_ok=True)
    lines = (options.runs / "INDEX.jsonl").read_text(encoding="utf-8").splitlines()
    cases = {case["name"] if "name" in case else Path(case["path"]).name: case for case in map(json.loads, lines)}
    for model in options.models:
        name, _, folder = model.partition("=")
        case = cases[name.partition("@")[0]]
        texts = texts_of(case, options)
        texts["fit"] = texts["fit"][: options.fit_rows]
        held = len(texts["fit"]) // 5
        texts["held"], texts["fit"] = texts["fit"][:held], texts["fit"][held:]
        shared = Shared(load_classifier(folder or case["path"]), texts)
        for layers in options.layers:
            for rate in options.rates:
                place = options.out / f"{name}.{layers}.{rate:g}.{options.epochs}.npz"
                if not place.exists():
                    started = time.perf_counter()
                    np.savez(place, **shared.parts(layers, rate, options.epochs))
                    print(f"{place.stem}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)


class Shared:
    """A model's states of every layer for every token of every text, in batches of like length."""

    def __init__(self, classifier: Any, texts: dict[str, list[str]]) -> None:
        self.classifier = classifier.eval()
        self.batches = {name: list(self._read(rows)) for name, rows in texts.items()}
        self.counts = {name: len(rows) for name, rows in texts.items()}

    @torch.no_grad()
    def _read(self, texts: list[str]) -> Any:
        ids = self.classifier.encode(texts).ids
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            inputs = self.classifier.inputs([ids[place] for place in places])
            states = self.classifier.run(**inputs, layers=range(6)).hidden_states
            below = self.classifier.base.base_model.embeddings(inputs["input_ids"])
            mask = inputs["attention_mask"][:, None, None, :].bool()
            yield places, mask, [below, *states[1:]]

    def parts(self, layers: int, rate: float, epochs: int) -> dict[str, np.ndarray]:
        """Both parts of every set, of a copy that owns so many layers."""
        from poisonsieve.defenses.pass_rarity import PassRarity
        from poisonsieve.models.results import Logits, PerText

        torch.manual_seed(0)
        top = Top(self.classifier.base, layers)
        classes = len(self.classifier.label_names)
        labels = np.random.default_rng(0).integers(classes, size=self.counts["fit"])
        started = time.perf_counter()
        self._train(top, torch.from_numpy(labels), rate, epochs)
        seconds = time.perf_counter() - started
        found: dict[str, Any] = {}
        for name in ("fit", "held", *SETS):
            logits, states = self._apply(top, name)
            truncated, errors = np.zeros(len(logits), dtype=bool), [None] * len(logits)
            found[name] = Logits(logits, truncated, errors), PerText(states, truncated, errors)
        passes = PassRarity.learn(found["fit"][1], found["held"], of="the copy", remedy="train it less")
        parts = {f"{part}.{name}": scores for name in SETS for part, scores in passes.scores(*found[name]).items()}
        return {**parts, "seconds": np.array(seconds)}

    def _train(self, top: Top, labels: Tensor, rate: float, epochs: int) -> None:
        top.train()
        batches = self.batches["fit"]
        optimizer = torch.optim.AdamW([p for p in top.parameters() if p.requires_grad], lr=rate, weight_decay=0.01)
        steps = epochs * len(batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / max(1, steps))
        rng = np.random.default_rng(0)
        for _ in range(epochs):
            for place in rng.permutation(len(batches)):
                rows, mask, states = batches[place]
                logits, _ = top(states[6 - top.owned], mask)
                nn.functional.cross_entropy(logits, labels[rows]).backward()
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()

    @torch.no_grad()
    def _apply(self, top: Top, name: str) -> tuple[np.ndarray, np.ndarray]:
        top.eval()
        count = self.counts[name]
        logits, states = np.full((count, len(self.classifier.label_names)), np.nan), np.full((count, 6, 384), np.nan)
        for rows, mask, below in self.batches[name]:
            given, own = top(below[6 - top.owned], mask)
            logits[rows] = given.numpy()
            first = [layer[:, 0] for layer in [*below[1 : 1 + 6 - top.owned], *own]]
            states[rows] = torch.stack(first, dim=1).numpy()
        return logits, states.astype(np.float32)


class Top(nn.Module):
    """A copy of a network's top layers, pooler and head, which trains."""

    def __init__(self, base: Any, owned: int) -> None:
        super().__init__()
        self.owned = owned
        bert = base.base_model
        self.layers = copy.deepcopy(bert.encoder.layer[6 - owned :])
        self.pooler, self.dropout, self.head = (
            copy.deepcopy(each) for each in (bert.pooler, base.dropout, base.classifier)
        )
        self.requires_grad_(True)

    def forward(self, states: Tensor, mask: Tensor) -> tuple[Tensor, list[Tensor]]:
        own = []
        for layer in self.layers:
            states = layer(states, mask)
            own.append(states)
        return self.head(self.dropout(self.pooler(states))), own


def summed(found: dict[str, np.ndarray], names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The sum of the parts' rarities; calibration rows are the reference, and scored as if they were not in it."""
    from poisonsieve.defenses.rarity import Rarity

    rarities = {name: Rarity(found[f"{name}.calibrate"]) for name in names}
    calibrated = [rarity.of_its_own(found[f"{name}.calibrate"]) for name, rarity in rarities.items()]
    rated = {rows: [rarity(found[f"{name}.{rows}"]) for name, rarity in rarities.items()] for rows in SETS[1:]}
    return {"calibrate": np.sum(calibrated, axis=0), **{rows: np.sum(parts, axis=0) for rows, parts in rated.items()}}


def print_table(options: argparse.Namespace) -> None:
    found = {place.stem: dict(np.load(place)) for place in sorted(options.out.glob("*.npz"))}
    print("| model, layers, rate, epochs | psim | states | psim-rarity | seconds |\n|---|---|---|---|---|")
    for name, parts in found.items():
        cells = [cell(summed(parts, each), options.frr) for each in ((CONFIDENCE,), (STATES,), (CONFIDENCE, STATES))]
        print(f"| {name} | {' | '.join(cells)} | {float(parts['seconds']):.1f} |")


if __name__ == "__main__":
    main()
