/**
 * Screening a text by hand: verdict, scale, words.
 *
 * @typedef {import("./api.js").Guard} Guard
 * @typedef {import("./api.js").Verdict} Verdict
 */

import { ask, explainError } from "./api.js";
import { ChartView } from "./chart.js";
import { byId, el } from "./dom.js";
import { apart, confidence, count, percent } from "./format.js";
import { explained } from "./words.js";

export class ScreenForm {
  constructor() {
    this.form = byId("screen-form", HTMLFormElement);
    this.text = byId("text", HTMLTextAreaElement);
    this.send = byId("screen-button", HTMLButtonElement);
    this.explain = byId("explain-button", HTMLButtonElement);
    this.out = byId("verdict", HTMLElement);
    this.words = byId("words", HTMLElement);
    this.caption = byId("scale-caption", HTMLElement);
    this.scale = new ChartView(byId("scale", HTMLElement));
    /** @type {Guard | null} */
    this.guard = null;
    /** What was screened last; the field may have been edited since. @type {{text: string, verdict: Verdict} | null} */
    this.screened = null;
    this.busy = false;
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.screen();
    });
    this.text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.form.requestSubmit();
    });
    this.text.addEventListener("input", () => {
      this.out.classList.toggle("stale", this.screened !== null && this.screened.text !== this.text.value);
    });
    this.explain.addEventListener("click", () => this.showWords());
  }

  /** The guard in force, as soon as it is known. @param {Guard} guard */
  setGuard(guard) {
    this.guard = guard;
    this.draw();
  }

  async screen() {
    if (this.busy || this.text.value === "") return;
    const text = this.text.value;
    this.setBusy(true, this.send);
    this.clear();
    try {
      // Without the guard's facts it is not known whether there is a victim; the verdict is the same.
      const path = this.guard?.victim ? "v1/classify" : "v1/screen";
      const answer = await ask(path, { body: { text } });
      this.screened = { text, verdict: answer.verdicts[0] };
      this.out.replaceChildren(...verdictNodes(this.screened.verdict));
      this.explain.hidden = this.screened.verdict.confidence === null;
    } catch (error) {
      this.out.replaceChildren(el("p", { class: "problem" }, explainError(error)));
    } finally {
      this.setBusy(false, this.send);
      this.draw();
    }
  }

  async showWords() {
    if (this.busy || this.screened === null) return;
    const { text } = this.screened;
    this.setBusy(true, this.explain);
    try {
      const explanation = await ask("v1/explain", { body: { text } });
      this.words.replaceChildren(...explained(text, explanation, this.spread()));
      this.explain.hidden = true;
    } catch (error) {
      this.words.replaceChildren(el("p", { class: "problem" }, explainError(error)));
    } finally {
      this.words.hidden = false;
      this.setBusy(false, this.explain);
    }
  }

  clear() {
    this.screened = null;
    this.out.classList.remove("stale");
    this.out.replaceChildren();
    this.explain.hidden = true;
    this.words.hidden = true;
    this.words.replaceChildren();
  }

  /** @param {boolean} busy @param {HTMLButtonElement} pressed */
  setBusy(busy, pressed) {
    this.busy = busy;
    // Not `disabled`, which would throw the focus away.
    pressed.setAttribute("aria-disabled", String(busy));
    pressed.classList.toggle("busy", busy);
  }

  spread() {
    const edges = this.guard?.histogram.edges ?? [0, 1];
    return edges[edges.length - 1] - edges[0];
  }

  draw() {
    if (this.guard === null) return;
    const { histogram, gamma, calibration_rows: rows, score_range: range } = this.guard;
    const verdict = this.screened?.verdict ?? null;
    const marker =
      verdict === null || verdict.confidence === null
        ? undefined
        : { confidence: verdict.confidence, rejected: verdict.rejected };
    const where = `Histogram of ${count(rows)} calibration confidences, gamma at ${confidence(gamma)}`;
    this.scale.show({
      edges: histogram.edges,
      bars: [{ counts: histogram.counts, kind: "calibration" }],
      open: range[1] === null,
      gamma,
      marker,
      label: marker ? `${where}, this text at ${confidence(marker.confidence)}.` : `${where}.`,
    });
    this.caption.textContent = `Grey: confidences of ${count(rows)} clean calibration texts. Above gamma a text is rejected.`;
  }
}

/** @param {Verdict} verdict */
function verdictNodes(verdict) {
  const { outcome } = verdict;
  const name = { passed: "Passed", poisoned: "Rejected", not_scored: "Rejected, could not be judged" }[outcome];
  const sign = { passed: "\u2713", poisoned: "\u2715", not_scored: "!" }[outcome];
  const lines = [
    el("p", { class: `headline ${outcome}` }, el("span", { class: "sign", "aria-hidden": "true" }, sign), name),
    el("p", {}, comparison(verdict)),
  ];
  if (verdict.label_name !== null && verdict.score !== null) {
    lines.push(el("p", {}, "The victim says ", el("strong", {}, verdict.label_name), `, with probability ${percent(verdict.score)}.`));
  }
  if (verdict.truncated) {
    lines.push(el("p", { class: "quiet" }, "The text is longer than the guard reads. Its end was read by neither guard nor victim."));
  }
  lines.push(el("p", { class: "quiet stale-note" }, "The text above has changed since; this is about the text that was sent."));
  return lines;
}

/** @param {Verdict} verdict */
function comparison(verdict) {
  if (verdict.confidence === null) return `Reason: ${verdict.reason}.`;
  const [found, bar] = apart(verdict.confidence, verdict.gamma);
  if (verdict.outcome === "poisoned") return `Confidence ${found} is above gamma, ${bar}.`;
  const passed = `Confidence ${found} is not above gamma, ${bar}.`;
  return verdict.rejected ? `${passed} Reason: ${verdict.reason}.` : passed;
}
