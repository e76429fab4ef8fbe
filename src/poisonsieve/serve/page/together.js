/**
 * Several records that are decided together, and what was decided undone.
 *
 * @typedef {import("./api.js").Decision} Decision
 */

import { ask, explainError } from "./api.js";
import { announce, button, el } from "./dom.js";
import { count, plural } from "./format.js";

const NAMES = { poison: "poison", false_alarm: "false alarm" };

/**
 * Which records the table lists alone.
 *
 * @typedef {object} Only
 * @property {Record<string, string>} query what the service is asked for
 * @property {(Node | string)[]} says
 */

/**
 * Records to decide together.
 *
 * @typedef {object} Several
 * @property {number[]} ids
 * @property {string} name what they are, for readers who cannot see the sentence beside the buttons
 * @property {(Node | string)[]} says
 * @property {Only} only lists them
 */

/**
 * What the table has to do.
 *
 * @typedef {object} Table
 * @property {(only: Only | null) => void} showOnly
 * @property {(ids: number[], decision: Decision | null) => void} showDecisions show what was decided elsewhere
 */

export class TogetherItem {
  /**
   * @param {Several} several
   * @param {Table} table
   */
  constructor(several, table) {
    this.several = several;
    this.table = table;
    this.busy = false;
    this.says = el("span", { class: "decision", role: "group", "aria-label": `Decide ${several.name}` });
    this.problem = el("div", { role: "alert" });
    const show = button("Show them", () => table.showOnly(several.only), { class: "small", "aria-label": `Show ${several.name}` });
    this.item = el("li", {}, el("p", {}, ...several.says), el("div", { class: "group-buttons" }, show, this.says), this.problem);
    this.showOpen();
  }

  showOpen() {
    this.says.replaceChildren(
      button("All are poison", () => this.decide("poison"), { class: "small" }),
      button("All are false alarms", () => this.decide("false_alarm"), { class: "small" }),
    );
  }

  /** @param {Decision} decision */
  async decide(decision) {
    const changed = await this.store(this.several.ids, decision, null);
    if (changed === null) return;
    const kept = this.several.ids.length - changed.length;
    this.says.replaceChildren(
      el("span", { class: `chip ${decision}` }, `${count(changed.length)} ${NAMES[decision]}`),
      ...(kept > 0 ? [el("span", { class: "quiet" }, `${count(kept)} had been decided already`)] : []),
      button("Undo", () => this.undo(changed, decision), { class: "small", "aria-label": `Undo: ${this.several.name}` }),
    );
    this.says.querySelector("button")?.focus();
  }

  /** @param {number[]} ids @param {Decision} decision */
  async undo(ids, decision) {
    if ((await this.store(ids, null, decision)) === null) return;
    this.showOpen();
    this.says.querySelector("button")?.focus();
  }

  /**
   * Store one decision on those of the records that have another one.
   *
   * @param {number[]} ids
   * @param {Decision | null} decision
   * @param {Decision | null} was
   * @returns {Promise<number[] | null>} the records that were changed; null if it failed, which is shown
   */
  async store(ids, decision, was) {
    if (this.busy) return null;
    this.busy = true;
    this.item.classList.add("busy");
    try {
      /** @type {{changed: number[]}} */
      const { changed } = ids.length > 0 ? await ask("v1/quarantine/decisions", { body: { ids, decision, was } }) : { changed: [] };
      this.problem.replaceChildren();
      this.table.showDecisions(changed, decision);
      announce(`${plural(changed.length, "record")}: ${decision === null ? "open again" : NAMES[decision]}.`);
      return changed;
    } catch (error) {
      this.problem.replaceChildren(el("p", { class: "problem" }, `Nothing was changed. ${explainError(error)}`));
      return null;
    } finally {
      this.busy = false;
      this.item.classList.remove("busy");
    }
  }
}
