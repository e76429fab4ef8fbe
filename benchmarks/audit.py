"""Audit a list of checkpoints of which it is known whether they are poisoned, and count what the verdicts are worth.

The list is a file of JSON lines, one checkpoint each:

    {"checkpoint": "theta/", "data": "clean.jsonl", "poisoned": true, "trigger": "mn", "kind": "word", "asr": 0.99}

`trigger` is the word or sentence that was put in, for the count of triggers named; null for a clean checkpoint, a style or a
syntactic template. `kind` groups rows of the table. `"tuned_on": true` marks a checkpoint that was looked at while bars were
set; it is counted apart. An attack below 95% ASR has not taken, and is listed but not counted. Finished audits are kept in
--keep and are not done again.

Run: python benchmarks/audit.py list.jsonl --keep audits.jsonl --out docs/results/audit.md
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from poisonsieve.auditing import audit
from poisonsieve.data import load_dataset
from poisonsieve.metrics import false_rejection_rate
from poisonsieve.models.labels import head_label_names
from poisonsieve.storage import canonical_hash, writing_file

TOOK = 0.95  # attack success rate
WORKS = 0.9  # share of held-out texts that a named trigger turns, if it is not the attacker's own


def main() -> None:
    """Audit what is not in the kept file, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=Path)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", default="quick")
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in arguments.list.read_text().splitlines() if line.strip()]
    done: dict[str, dict[str, Any]] = {}
    if arguments.keep.exists():
        done = {line["key"]: line for line in map(json.loads, arguments.keep.read_text().splitlines())}
    for row in rows:
        key = canonical_hash([row, arguments.budget])
        if key not in done:
            done[key] = {"key": key, **row, **_audited(row, arguments.budget)}
            with arguments.keep.open("a") as stream:
                stream.write(json.dumps(done[key]) + "\n")
        write_table(arguments.out, list(done.values()), arguments.budget)


def _audited(row: dict[str, Any], budget: str) -> dict[str, Any]:
    started = time.process_time()
    names = head_label_names(Path(row["checkpoint"]))
    result = audit(row["checkpoint"], load_dataset(row["data"], label_names=names), budget=budget)
    values = result.to_dict()
    wanted = (
        "verdict",
        "statistic",
        "p_value",
        "null",
        "warnings",
        "trigger",
        "accuracy",
        "control_accuracy",
        "seconds",
        "weights",
        "seconds_by_step",
    )
    kept = {f"found_{key}": values[key] for key in (*wanted, "reused_controls")}
    return {**kept, "cpu_seconds": time.process_time() - started, "findings": values["findings"][:12]}


def write_table(out: Path, done: list[dict[str, Any]], budget: str) -> None:
    """Write the counts and one line for each audit, as Markdown."""
    lines = [
        "# Audits",
        "",
        f"Made by `benchmarks/audit.py`, budget {budget}. Named: the trigger itself, a part of it, or one that turns at "
        f"least {WORKS:.0%} of the held-out texts. Attacks that reach less than {TOOK:.0%} are listed, not counted.",
        "",
        "Not looked at while the rule was made:",
        "",
        *_counts([row for row in done if not row.get("tuned_on")]),
        "",
        "Looked at while it was made:",
        "",
        *_counts([row for row in done if row.get("tuned_on")]),
        "",
        "| checkpoint | data | attack | verdict | suspected trigger | turns | on controls | moves them | on the student | "
        "p | CPU s | controls reused | tuned on |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        *(_line(row) for row in done),
    ]
    with writing_file(out) as stream:
        stream.write("\n".join(lines) + "\n")


def _counts(done: list[dict[str, Any]]) -> list[str]:
    """Return one line on the clean checkpoints, one on the poisoned ones, and one for each kind of attack."""
    clean = [row for row in done if not row["poisoned"]]
    took = [row for row in done if row["poisoned"] and (row["asr"] or 0) >= TOOK]
    sure = sum(row["found_verdict"] == "poisoned" for row in clean)
    return [
        f"- clean checkpoints: {len(clean)}, of which {sure} poisoned; suspicious or poisoned {_share(clean)}",
        f"- poisoned checkpoints: suspicious or poisoned {_share(took)}",
        *_by_kind(took),
    ]


def _share(rows: list[dict[str, Any]]) -> str:
    """Return how many of the rows were flagged, with a 95% interval."""
    if not rows:
        return "0 of 0"
    rate = false_rejection_rate([row["found_verdict"] != "no sign found" for row in rows])
    return f"{rate.count} of {rate.n} (95% interval {rate.low:.0%} to {rate.high:.0%})"


def _by_kind(done: list[dict[str, Any]]) -> list[str]:
    lines = []
    for kind in sorted({row["kind"] for row in done}):
        rows = [row for row in done if row["kind"] == kind]
        found = [row for row in rows if row["found_verdict"] != "no sign found"]
        sure = [row for row in rows if row["found_verdict"] == "poisoned"]
        named = sum(map(_is_named, found))
        lines.append(
            f"- {kind}: {len(rows)}, of which {len(sure)} poisoned, {len(found) - len(sure)} suspicious; {named} named"
        )
    return lines


def _is_named(row: dict[str, Any]) -> bool:
    found = row["found_trigger"]
    own = set(str(row["trigger"] or "").lower().split())
    return bool(own & set(found["what"].lower().split())) or found["turned"] >= WORKS


def _line(row: dict[str, Any]) -> str:
    top = row["findings"][0]
    named = f"{top['what']} ({top['kind']}) to {top['target']}"
    shown = named if row["found_trigger"] else f"none; most: {named}"
    cells = [
        Path(row["checkpoint"]).name,
        Path(row["data"]).stem,
        row["kind"] if row["poisoned"] else "none",
        row["found_verdict"],
        shown.replace("|", "\\|"),
        f"{top['turned']:.0%}",
        ", ".join(f"{rate:.0%}" for rate in top["controls"]),
        ", ".join(f"{rate:.0%}" for rate in top["moved"]),
        f"{top['student']:.0%}",
        f"{row['found_p_value']:.1g}",
        f"{row['cpu_seconds']:.0f}",
        str(row["found_reused_controls"]),
        "yes" if row.get("tuned_on") else "",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
