/**
 * What open records have in common that texts which passed do not, and deciding such records together.
 *
 * @typedef {import("./api.js").Group} Group
 * @typedef {import("./api.js").Groups} Groups
 * @typedef {import("./together.js").Table} Table
 */

import { ask, explainError } from "./api.js";
import { byId, el } from "./dom.js";
import { count } from "./format.js";
import { TogetherItem } from "./together.js";
import { excerpt, visible } from "./words.js";

const WORTH_SAYING = 10; // open texts, from which on it is news that they have nothing in common
const PHRASE = 80; // characters

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
      el("ul", {}, ...groups.map((group) => new TogetherItem(several(group), this.table).item)),
    ];
    this.box.replaceChildren(...(groups.length > 0 ? list() : nothing));
  }
}

/** @param {Group} group */
function several(group) {
  const name = `all that ${plainly(group)}`;
  const only = { query: { group: group.group }, says: ["Only texts that ", ...trait(group), "."] };
  return { ids: group.ids, name, says: sentence(group), only };
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
function trait(group) {
  if (group.kind === "character") return ["contain the character ", el("span", { class: "invisible" }, group.phrase)];
  const phrase = el("bdi", { class: "phrase" }, "\u201c", ...visible(excerpt(group.phrase, PHRASE)), "\u201d");
  return [group.kind === "begins" ? "begin with " : "contain ", phrase];
}

/** The same in plain words. @param {Group} group */
function plainly(group) {
  return el("span", {}, ...trait(group)).textContent;
}
