/**
 * The watch over the traffic: whether the latest texts hold a campaign, what drives it, and deciding what was flagged.
 *
 * @typedef {import("./api.js").Watch} Watch
 * @typedef {import("./api.js").Check} Check
 * @typedef {import("./api.js").Driving} Driving
 * @typedef {import("./together.js").Table} Table
 */

import { ask, explainError } from "./api.js";
import { byId, el } from "./dom.js";
import { count, plural, time } from "./format.js";
import { TogetherItem } from "./together.js";
import { excerpt, visible } from "./words.js";

const EXCERPT = 160; // characters
const SHOWN = 5; // texts that drive an alarm

export class WatchView {
  /** @param {Table} table */
  constructor(table) {
    this.table = table;
    this.line = byId("watch", HTMLElement);
    this.box = byId("alarm", HTMLElement);
    /** The number of checks at the time of the last answer. @type {number | null} */
    this.checks = null;
  }

  /** Another service may be behind the address. */
  forget() {
    this.checks = null;
  }

  /**
   * Ask again, if there has been a check since.
   *
   * @param {number} checks
   * @param {AbortSignal} signal
   */
  async notice(checks, signal) {
    if (checks === this.checks) return;
    try {
      /** @type {Watch} */
      const found = await ask("v1/watch", { signal });
      this.checks = checks;
      this.show(found);
    } catch (error) {
      if (signal.aborted) throw error;
      this.line.replaceChildren(el("p", { class: "problem" }, explainError(error))); // the rest of the page goes on
    }
  }

  /** @param {Watch} found */
  show(found) {
    const alarm = found.state === "alarm" && found.last !== null ? alarmNodes(found.last) : [];
    const list = found.flagged.length > 0 ? [el("ul", {}, new TogetherItem(flaggedTexts(found), this.table).item)] : [];
    this.line.replaceChildren(...lineNodes(found));
    this.box.classList.toggle("raised", found.state === "alarm");
    this.box.replaceChildren(...alarm, ...list);
  }
}

/** @param {Watch} found */
function lineNodes({ state, off, min_texts, last, alarm_since, false_alarm_days }) {
  const compared = last === null ? "" : ` (p = ${figure(last.p_value)}, ${plural(last.texts, "text")}, ${time(last.time)}).`;
  const [line, more] = {
    off: ["Watch: off.", ` ${off ?? ""}`],
    gathering: ["Watch: gathering texts.", ` The first comparison takes ${count(min_texts)} different ones.`],
    quiet: ["Watch: quiet.", ` The latest texts together look like the calibration texts${compared}`],
    differs: ["Watch: the texts differ.", ""],
    alarm: ["Watch: alarm", alarm_since === null ? "." : ` since ${time(alarm_since)}.`],
  }[state];
  const days = `On text like the calibration texts, at most one false alarm in ${plural(false_alarm_days, "day")} is to be expected.`;
  const below = { differs: last === null ? "" : last.says, alarm: days }[/** @type {string} */ (state)];
  return [
    el("p", { class: "drift-line", "data-watch": state }, el("strong", {}, line), more),
    ...(below === undefined ? [] : [el("p", { class: "quiet" }, below)]),
  ];
}

/** @param {Check} last */
function alarmNodes(last) {
  const title = el("h3", {}, "Alarm: the latest texts look like a campaign");
  if (last.finding !== "campaign") return [title, el("p", {}, `An earlier comparison found a campaign. Now: ${last.says}`)];
  const classes = last.by_class.map(({ label_name, texts, above }) => `${label_name} ${count(above)} of ${count(texts)}`);
  return [
    title,
    el("p", {}, last.says),
    el("p", {}, "Of ", el("strong", {}, plural(last.flagged, "text")), " in it, the guard had passed ", el("strong", {}, count(last.passed)), "."),
    el("p", { class: "quiet" }, `Texts that stand apart, by class: ${classes.join(", ")}.`),
    el("p", { class: "driving-title" }, "Those that stand apart most:"),
    el("ol", { class: "driving" }, ...last.driving.slice(0, SHOWN).map(drivingItem)),
  ];
}

/** @param {Driving} driving */
function drivingItem({ text, text_sha256, request_id, text_index, outcome }) {
  const where = ["Text not kept: request ", el("code", {}, request_id), `, text ${text_index + 1}, SHA-256 `, el("code", {}, `${text_sha256.slice(0, 12)}\u2026`)];
  const shown =
    text === null ? el("span", {}, ...where) : el("bdi", { class: "excerpt", dir: "auto" }, ...visible(excerpt(text, EXCERPT)));
  return el("li", {}, shown, " ", el("span", { class: "quiet" }, outcome === "passed" ? "had passed" : "was rejected"));
}

/** @param {Watch} found */
function flaggedTexts({ flagged: ids }) {
  const [were, share] = ids.length === 1 ? ["was", "it shares"] : ["were", "they share"];
  return {
    ids,
    name: "the flagged texts",
    says: [el("strong", {}, plural(ids.length, "text")), ` that had passed ${were} flagged later, for what ${share} with others.`],
    only: { query: { cause: "traffic" }, says: ["Only texts that had passed and were flagged later."] },
  };
}

/** @param {number} p */
function figure(p) {
  return p < 0.001 ? p.toExponential(1) : p.toFixed(3);
}
