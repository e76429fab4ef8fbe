/**
 * What open records have in common that texts which passed do not, and deciding such records together.
 *
 * @typedef {import("./api.js").Group} Group
 * @typedef {import("./api.js").Groups} Groups
 * @typedef {import("./api.js").Decision} Decision
 */

import { ask, explainError } from "./api.js";
import { announce, button, byId, el } from "./dom.js";
import { count, plural } from "./format.js";
import { excerpt, visible } from "./words.js";

const WORTH_SAYING = 10; // open texts, from which on it is news that they have nothing in common
const PHRASE = 80; // characters
const NAMES = { poison: "poison", false_alarm: "false alarm" };

/**
 * What the table has to do for the groups.
 *
 * @typedef {object} Table
 * @property {(group: Group) => void} showGroup list the records of a group alone
 * @property {(ids: number[], decision: Decision | null) => void} showDecisions show what was decided elsewhere
 */

export class GroupList {
  /** @param {Table} table */
  constructor(table) {
    this.table = table;
    this.box = byId("groups", HTMLElement);
    this.loading = new AbortController();
  }

  /** Ask for the groups; those shown, and what was decided of them, go. */
  async load() {
    this.loading.abort();
    this.loading = new AbortController();
    const { signal } = this.loading;
    try {
      /** @type {Groups} */
      const found = await ask("v1/quarantine/groups", { signal });
      this.show(found);
    } catch (error) {
      if (!signal.aborted) this.box.replaceChildren(el("p", { class: "problem" }, explainError(error)));
    }
  }

  /** @param {Groups} found */
  show(found) {
    const { groups, rejected_texts: open, passed_texts: passed } = found;
    const nothing =
      open >= WORTH_SAYING && passed > 0
        ? [el("p", { class: "quiet" }, `No word, phrase or opening sets the ${count(open)} open texts apart from the ${count(passed)} that passed here.`)]
        : [];
    const list = () => [
      el("h3", {}, "What they have in common"),
      el("ul", {}, ...groups.map((group) => new GroupItem(group, this.table).item)),
    ];
    this.box.replaceChildren(...(groups.length > 0 ? list() : nothing));
  }
}

class GroupItem {
  /**
   * @param {Group} group
   * @param {Table} table
   */
  constructor(group, table) {
    this.group = group;
    this.table = table;
    this.busy = false;
    this.says = el("span", { class: "decision", role: "group", "aria-label": `Decide all that ${plainly(group)}` });
    this.problem = el("div", { role: "alert" });
    const show = button("Show them", () => table.showGroup(group), { class: "small", "aria-label": `Show all that ${plainly(group)}` });
    this.item = el("li", {}, el("p", {}, ...sentence(group)), el("div", { class: "group-buttons" }, show, this.says), this.problem);
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
    const changed = await this.store(this.group.ids, decision, null);
    if (changed === null) return;
    const kept = this.group.ids.length - changed.length;
    this.says.replaceChildren(
      el("span", { class: `chip ${decision}` }, `${count(changed.length)} ${NAMES[decision]}`),
      ...(kept > 0 ? [el("span", { class: "quiet" }, `${count(kept)} had been decided already`)] : []),
      button("Undo", () => this.undo(changed, decision), { class: "small", "aria-label": `Undo: all that ${plainly(this.group)}` }),
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

/** @param {Group} group */
function sentence(group) {
  return [
    el("strong", {}, `${count(group.rejected)} of ${count(group.of_rejected)}`),
    " open texts ",
    ...trait(group),
    "; of those that passed here, ",
    el("strong", {}, `${count(group.passed)} of ${count(group.of_passed)}`),
    group.passed === 1 ? " does." : " do.",
  ];
}

/**
 * What the texts of a group do, as nodes.
 *
 * @param {Group} group
 * @returns {(Node | string)[]}
 */
export function trait(group) {
  if (group.kind === "character") return ["contain the character ", el("span", { class: "invisible" }, group.phrase)];
  const phrase = el("bdi", { class: "phrase" }, "\u201c", ...visible(excerpt(group.phrase, PHRASE)), "\u201d");
  return [group.kind === "begins" ? "begin with " : "contain ", phrase];
}

/** The same in plain words. @param {Group} group */
function plainly(group) {
  return el("span", {}, ...trait(group)).textContent;
}
