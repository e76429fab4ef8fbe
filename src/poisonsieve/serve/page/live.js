/**
 * What goes through the service now: counts, recent confidences, drift, queue.
 *
 * @typedef {import("./api.js").Guard} Guard
 * @typedef {import("./api.js").Stats} Stats
 * @typedef {import("./api.js").Drift} Drift
 */

import { ChartView } from "./chart.js";
import { byId, el } from "./dom.js";
import { confidence, count, percent, plural, time } from "./format.js";

export class LiveView {
  constructor() {
    this.root = byId("live", HTMLElement);
    this.counts = byId("counts", HTMLElement);
    this.driftBox = byId("drift", HTMLElement);
    this.note = byId("live-note", HTMLElement);
    this.recentNote = byId("recent-note", HTMLElement);
    this.chart = new ChartView(byId("distribution", HTMLElement));
  }

  /**
   * @param {Stats} stats
   * @param {Guard} guard
   */
  show(stats, guard) {
    const all = stats.passed + stats.poisoned + stats.not_scored;
    this.counts.replaceChildren(
      tile("passed", stats.passed, share(stats.passed, all)),
      tile("poisoned", stats.poisoned, share(stats.poisoned, all)),
      tile("not_scored", stats.not_scored, share(stats.not_scored, all)),
      tile("queue", stats.queue_length, "texts"),
    );
    const { edges, counts_passed: passed, counts_rejected: rejected } = stats.recent;
    const [below, above] = [sum(passed), sum(rejected)];
    this.recentNote.textContent = below + above === 0 ? "no text yet" : `latest ${plural(below + above, "text")}`;
    this.chart.show({
      edges,
      bars: [
        { counts: passed, kind: "passed" },
        { counts: rejected, kind: "rejected" },
      ],
      outline: guard.histogram.counts.length === passed.length ? guard.histogram.counts : undefined,
      open: guard.score_range[1] === null,
      gamma: guard.gamma,
      label:
        `Distribution of the latest ${count(below + above)} confidences, ${count(above)} of rejected texts, ` +
        `beside that of ${count(guard.calibration_rows)} calibration texts; gamma at ${confidence(guard.gamma)}.`,
    });
    this.driftBox.replaceChildren(...driftNodes(stats.drift));
    this.note.textContent = `This process, since ${time(stats.since)}.`;
  }

  /** Whether what is shown may be old. @param {boolean} stale */
  setStale(stale) {
    this.root.classList.toggle("stale", stale);
  }
}

/**
 * @param {string} name
 * @param {number} value
 * @param {string} below
 */
function tile(name, value, below) {
  return el(
    "div",
    { class: `tile ${name}` },
    el("dt", {}, name.replace("_", " ")),
    el("dd", { class: "number", "data-count": name }, count(value)),
    el("dd", { class: "quiet" }, below),
  );
}

/** @param {Drift} drift */
function driftNodes(drift) {
  if (drift.drifted === null || drift.ks === null || drift.bar === null) {
    const few = `Drift: ${plural(drift.recent_texts, "recent text")}, too few to say.`;
    return [el("p", { class: "drift-line", "data-drift": "unknown" }, few)];
  }
  const figures = `distance ${drift.ks.toFixed(3)}, bar ${drift.bar.toFixed(3)}${drift.psi === null ? "" : `, PSI ${drift.psi.toFixed(2)}`}`;
  const line = drift.drifted ? "Drift: recent confidences differ from the calibration's." : "No drift.";
  return [
    el("p", { class: "drift-line", "data-drift": drift.drifted ? "yes" : "no" }, el("strong", {}, line), ` ${figures}`),
    ...(drift.drifted
      ? [el("p", { class: "quiet" }, "The false-rejection rate may no longer hold: calibrate on fresh clean text. A flood of triggered texts looks like this too.")]
      : []),
  ];
}

/** @param {number} part @param {number} all */
function share(part, all) {
  return all === 0 ? "\u2013" : percent(part / all);
}

/** @param {number[]} counts */
function sum(counts) {
  return counts.reduce((total, each) => total + each, 0);
}
