/**
 * A record of the quarantine: its row, and below it, opened, all that is known of it.
 *
 * @typedef {import("./api.js").Guard} Guard
 * @typedef {import("./api.js").Stored} Stored
 * @typedef {import("./api.js").Decision} Decision
 */

import { ask, explainError } from "./api.js";
import { announce, button, el } from "./dom.js";
import { apart, confidence, count, time } from "./format.js";
import { excerpt, explained, textBox, visible } from "./words.js";

const NOTE_CHARS = 2000;
const EXCERPT = 220;
const NAMES = { poison: "poison", false_alarm: "false alarm" };

export class Row {
  /**
   * @param {Stored} stored
   * @param {Guard | null} guard
   */
  constructor(stored, guard) {
    this.stored = stored;
    this.guard = guard;
    this.open = false;
    this.busy = false;
    this.asked = false;
    const number = `record ${stored.id}`;
    this.opener = button("", () => this.toggle(!this.open), {
      class: "opener",
      "aria-label": `Open ${number}`,
      "aria-expanded": "false",
      "aria-controls": `record-${stored.id}`,
    });
    this.decisionCell = el("td", { role: "cell", class: "decision", "data-label": "Decision" });
    this.main = el(
      "tr",
      { role: "row", class: "record", "data-id": stored.id },
      el("td", { role: "cell", class: "open" }, this.opener),
      el("td", { role: "cell", class: "time", "data-label": "Time" }, el("time", { datetime: stored.time }, time(stored.time))),
      el("td", { role: "cell", class: "text", "data-label": "Text" }, summary(stored)),
      el("td", { role: "cell", class: "confidence", "data-label": "Confidence" }, ...score(stored)),
      this.decisionCell,
    );
    this.detailCell = el("td", { role: "cell", colspan: 5 });
    this.detail = el("tr", { role: "row", class: "detail", id: `record-${stored.id}`, hidden: true }, this.detailCell);
    this.words = el("div", { class: "record-words", "aria-live": "polite" });
    this.note = el("textarea", { rows: 2, maxlength: NOTE_CHARS, id: `note-${stored.id}`, dir: "auto" });
    this.note.value = stored.note ?? "";
    this.problem = el("div", { role: "alert" });
    this.showDecision();
  }

  /** @param {Guard} guard */
  setGuard(guard) {
    this.guard = guard;
  }

  /** Whether Tab stops at this row's buttons. @param {boolean} reachable */
  setReachable(reachable) {
    for (const each of this.main.querySelectorAll("button")) each.tabIndex = reachable ? 0 : -1;
    this.main.classList.toggle("current", reachable);
  }

  /** @param {boolean} open */
  toggle(open) {
    if (open === this.open) return;
    this.open = open;
    this.opener.setAttribute("aria-expanded", String(open));
    this.main.classList.toggle("opened", open);
    const inside = this.detail.contains(document.activeElement);
    if (open && this.detailCell.childElementCount === 0) this.detailCell.append(...this.detailNodes());
    this.detail.hidden = !open;
    if (inside) this.opener.focus();
    if (open && !this.asked) this.explain();
  }

  detailNodes() {
    const { stored } = this;
    const save = button("Save note", () => this.decide(stored.decision), { class: "small" });
    return [
      this.problem,
      this.words,
      el(
        "div",
        { class: "note" },
        el("label", { for: this.note.id }, "Note"),
        this.note,
        save,
      ),
      facts(stored),
    ];
  }

  /** Ask which words the confidence rests on. */
  async explain() {
    const { stored, guard } = this;
    if (stored.text === null) {
      this.words.replaceChildren(
        el("p", { class: "quiet" }, "Only the hash of this text was kept, so no word can be shown."),
        el("p", { class: "hash" }, stored.text_sha256),
      );
      return;
    }
    this.asked = true;
    const notes = [];
    // The service counts characters as code points.
    if (Array.from(stored.text).length < stored.text_chars) {
      notes.push(`Only the beginning of this text's ${count(stored.text_chars)} characters was kept; the words are weighed in that part.`);
    }
    if (guard !== null && guard.guard_digest !== stored.guard_digest) {
      notes.push("Another guard rejected this text; the words are weighed by the guard in force.");
    }
    this.words.replaceChildren(el("p", { class: "quiet" }, "Weighing the words\u2026"), textBox(stored.text));
    const edges = guard?.histogram.edges ?? [0, 1];
    try {
      const explanation = await ask("v1/explain", { body: { text: stored.text } });
      this.words.replaceChildren(
        ...notes.map((note) => el("p", { class: "quiet" }, note)),
        ...explained(stored.text, explanation, edges[edges.length - 1] - edges[0]),
      );
    } catch (error) {
      const again = button("Weigh the words again", () => this.explain(), { class: "small" });
      this.words.replaceChildren(el("p", { class: "problem" }, explainError(error)), again, textBox(stored.text));
    }
  }

  /** Store a decision and the note. @param {Decision | null} decision */
  async decide(decision) {
    if (this.busy) return;
    this.busy = true;
    this.main.classList.add("busy");
    const note = this.note.value.trim() === "" ? null : this.note.value;
    try {
      this.showStored(await ask(`v1/quarantine/${this.stored.id}/decision`, { body: { decision, note } }));
      this.problem.replaceChildren();
      announce(`Record ${this.stored.id}: ${decision === null ? "open again" : NAMES[decision]}.`);
    } catch (error) {
      const says = `Record ${this.stored.id} was not changed. ${explainError(error)}`;
      this.problem.replaceChildren(el("p", { class: "problem" }, says));
      this.toggle(true); // the problem is shown there
    } finally {
      this.busy = false;
      this.main.classList.remove("busy");
    }
  }

  /** Show the record as it is stored now. @param {Stored} stored */
  showStored(stored) {
    this.stored = stored;
    this.showDecision();
  }

  showDecision() {
    const { decision, id } = this.stored;
    const focused = this.decisionCell.contains(document.activeElement);
    const reachable = this.opener.tabIndex === 0;
    const choice = (/** @type {string} */ label, /** @type {Decision | null} */ value, /** @type {string} */ key) =>
      button(label, () => this.decide(value), {
        class: "small",
        "aria-keyshortcuts": key,
        "aria-label": `${label}, record ${id}`,
        tabindex: reachable ? 0 : -1,
      });
    const nodes =
      decision === null
        ? [choice("Poison", "poison", "p"), choice("False alarm", "false_alarm", "f")]
        : [el("span", { class: `chip ${decision}` }, NAMES[decision]), choice("Undo", null, "u")];
    this.decisionCell.replaceChildren(...nodes);
    this.main.classList.toggle("decided", decision !== null);
    if (focused) this.decisionCell.querySelector("button")?.focus();
  }
}

/** @param {Stored} stored */
function summary(stored) {
  if (stored.text === null) {
    return el("span", { class: "hash-only" }, el("span", { class: "quiet" }, "hash only "), el("code", {}, stored.text_sha256));
  }
  if (/^[ \t\n]*$/.test(stored.text)) return el("span", { class: "quiet" }, stored.text === "" ? "(empty)" : "(white space)");
  return el("bdi", { class: "excerpt", dir: "auto" }, ...visible(excerpt(stored.text, EXCERPT)));
}

/** @param {Stored} stored */
function score(stored) {
  if (stored.confidence === null) return [el("span", { class: "not-scored" }, "not scored"), el("span", { class: "quiet" }, stored.reason)];
  const [found, bar] = apart(stored.confidence, stored.gamma);
  return [el("strong", {}, found), el("span", { class: "quiet" }, aboveGamma(stored) ? `gamma ${bar}` : stored.cause === "traffic" ? "passed, flagged later" : stored.reason)];
}

/** Whether the guard rejected the text by itself. @param {Stored} stored */
function aboveGamma(stored) {
  return stored.outcome === "poisoned" && stored.cause !== "traffic";
}

/** @param {Stored} stored */
function facts(stored) {
  const known = [
    ["Record", String(stored.id)],
    ["Time", `${time(stored.time)} (${stored.time.slice(0, 19).replace("T", " ")} UTC)`],
    ["Reason", aboveGamma(stored) ? "poisoned: confidence above gamma" : stored.reason],
    ["Confidence", stored.confidence === null ? "none" : confidence(stored.confidence)],
    ["Gamma at the time", confidence(stored.gamma)],
    ["Characters", count(stored.text_chars)],
    ["Request", `${stored.request_id}, text ${stored.text_index + 1}`],
    ["SHA-256", stored.text_sha256],
    ["Guard", stored.guard_digest],
  ];
  return el("dl", { class: "record-facts" }, ...known.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}
