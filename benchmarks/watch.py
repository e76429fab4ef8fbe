r"""How often does the service's watch raise a false alarm, and how soon a true one? Streams of texts, checked as it checks.

    python benchmarks/watch.py --model theta_p --reference unseen.jsonl --clean test.jsonl --triggered synbkd/test.jsonl \
        --target 1 --other cr=cr/test.jsonl --states states/ --out watch.jsonl

Every stream has calibration rows of its own, drawn anew. There are these kinds:

- `clean`: clean texts of the task alone, as many rounds of them as it takes;
- `triggered`: the same, until the window is full; from then on, a share of the texts that come is triggered;
- `NAME`: the same with clean text of another domain instead.

The window, the texts between two checks and the level of a check are the service's defaults. States are read as in
benchmarks/traffic.py, and kept under --states.
"""

from __future__ import annotations

import collections
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from poisonsieve.guard.reference import Reading, Reference
from poisonsieve.guard.traffic import against
from poisonsieve.serve.settings import ServeSettings
from poisonsieve.serve.watch import level_of, permutations_of
from traffic import DEFAULT_RULE, drawn, lines, parser, picked, prepared, states_of, vars_of

SETTINGS = ServeSettings()
LEVEL = level_of(SETTINGS)
#: Checks of a stream after something else than clean text began to come.
CHECKS_AFTER = 5


def main() -> None:
    options = parse()
    sets = {name: states_of(name, options) for name in ("reference", "clean", "triggered", *options.other)}
    done = {(line["kind"], line["share"], line["stream"]) for line in lines(options.out)}
    with options.out.open("a", encoding="utf-8") as stream:
        for kind, share, number in streams(options):
            if (kind, share, number) not in done:
                for line in checked(kind, share, number, sets, options):
                    stream.write(json.dumps(line) + "\n")
                stream.flush()
    show(lines(options.out))


def parse() -> Any:
    made = parser("What the service's watch finds in drawn streams.")
    made.add_argument("--shares", type=float, nargs="+", default=[0.05, 0.1, 0.33])
    made.add_argument("--streams", type=int, default=5, help="streams of a kind")
    made.add_argument("--clean-streams", type=int, default=20, help="streams of clean text")
    made.add_argument("--clean-checks", type=int, default=20, help="checks in each of them")
    return prepared(made)


def streams(options: Any) -> Iterator[tuple[str, float, int]]:
    kinds = [("triggered", share) for share in options.shares]
    kinds += [(name, share) for name in options.other for share in (0.1, 0.33, 1.0)]
    yield from (("clean", 0.0, number) for number in range(options.clean_streams))
    yield from ((kind, share, number) for number in range(options.streams) for kind, share in kinds)


def checked(kind: str, share: float, number: int, sets: dict[str, Reading], options: Any) -> Iterator[dict[str, Any]]:
    """Yield what each check of a stream finds."""
    rng = np.random.default_rng([number, round(1000 * share), len(kind)])
    order = rng.permutation(len(sets["reference"].classes))
    rows = picked(sets["reference"], order[: options.rows])
    clean = together(picked(sets["reference"], order[options.rows :]), sets["clean"])
    reference = Reference(rows.states, rows.classes, np.arange(rows.states.shape[1]))
    size, step = SETTINGS.watch_texts, SETTINGS.watch_min_texts
    window, strange = drawn(clean, size, rng), np.zeros(size, dtype=bool)
    for check in range(options.clean_checks if kind == "clean" else CHECKS_AFTER):
        if check or kind != "clean":
            others = drawn(sets[kind], round(share * step), rng) if share else picked(clean, np.arange(0))
            come = together(drawn(clean, step - len(others.classes), rng), others)
            window = together(picked(window, np.arange(step, size)), come)
            strange = np.r_[strange[step:], np.arange(step) >= step - len(others.classes)]
        started = time.perf_counter()
        found = against(reference, window, DEFAULT_RULE, seed=check, permutations=permutations_of(LEVEL), alpha=LEVEL)
        yield {
            **{"kind": kind, "share": share, "stream": number, "check": check, "strange": int(strange.sum())},
            **{name: getattr(found, name) for name in ("finding", "p_value", "apart")},
            "flagged": int(found.flagged[strange].sum()),
            "clean_flagged": int(found.flagged[~strange].sum()),
            "seconds": round(time.perf_counter() - started, 3),
        }


def together(*parts: Reading) -> Reading:
    return Reading(*(np.concatenate(each) for each in zip(*map(vars_of, parts), strict=True)))


def show(found: Sequence[dict[str, Any]]) -> None:
    """Print a line for each kind of stream, and for each check of those with something else in them."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = collections.defaultdict(list)
    for line in found:
        groups[line["kind"], line["share"], 0 if line["kind"] == "clean" else line["check"] + 1].append(line)
    for (kind, share, check), group in sorted(groups.items()):
        p_values = np.array([line["p_value"] for line in group])
        findings = collections.Counter(line["finding"] for line in group).most_common()
        strange = sum(line["strange"] for line in group)
        caught = f"{sum(line['flagged'] for line in group) / strange:.2f}" if strange else "-"
        print(
            f"{kind} {share:4.0%} check {check}: {', '.join(f'{name} {n}' for name, n in findings)} of {len(group)}; "
            f"p <= {LEVEL:.2g} {(p_values <= LEVEL).sum()}, <= 0.01 {(p_values <= 0.01).sum()}, "
            f"<= 0.05 {(p_values <= 0.05).sum()}; flagged {caught}, clean texts flagged "
            f"{sum(line['clean_flagged'] for line in group)}; {np.median([line['seconds'] for line in group]):.1f} s"
        )


if __name__ == "__main__":
    main()
