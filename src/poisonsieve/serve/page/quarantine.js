/**
 * The quarantine as a table.
 *
 * One row at a time is in the tab order, so that Tab passes the table in a few steps; the arrow keys go from row to row.
 *
 * @typedef {import("./api.js").Guard} Guard
 * @typedef {import("./api.js").StoredPage} StoredPage
 * @typedef {import("./api.js").Decision} Decision
 * @typedef {import("./together.js").Only} Only
 */

import { ask, explainError } from "./api.js";
import { announce, button, byId, el } from "./dom.js";
import { count, plural } from "./format.js";
import { GroupList } from "./groups.js";
import { Row } from "./row.js";

const TYPING_MS = 250;

export class QuarantineTable {
  constructor() {
    this.body = byId("rows", HTMLElement);
    this.decision = byId("filter-decision", HTMLSelectElement);
    this.text = byId("filter-text", HTMLInputElement);
    this.size = byId("filter-size", HTMLSelectElement);
    this.problem = byId("records-problem", HTMLElement);
    this.position = byId("position", HTMLElement);
    this.previous = byId("previous", HTMLButtonElement);
    this.next = byId("next", HTMLButtonElement);
    this.fresh = byId("fresh", HTMLElement);
    this.groupFilter = byId("group-filter", HTMLElement);
    this.groups = new GroupList(this);
    /** The records that alone are listed. @type {Only | null} */
    this.only = null;
    this.page = 1;
    this.failed = false;
    /** @type {Row[]} */
    this.rows = [];
    this.loading = new AbortController();
    /** @type {Guard | null} */
    this.guard = null;
    /** What the service had rejected: now, and when the table was loaded. @type {[number | null, number | null]} */
    this.rejected = [null, null];
    this.listen();
  }

  listen() {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let typing;
    const first = () => {
      clearTimeout(typing);
      this.load(1);
    };
    byId("filters", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      clearTimeout(typing);
      this.refresh();
    });
    this.decision.addEventListener("change", first);
    this.size.addEventListener("change", first);
    this.text.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(first, TYPING_MS);
    });
    this.previous.addEventListener("click", () => this.turn(-1));
    this.next.addEventListener("click", () => this.turn(1));
    this.body.addEventListener("keydown", (event) => this.press(event));
    this.body.addEventListener("focusin", (event) => {
      const row = this.rowOf(event.target);
      if (row) this.rove(row);
    });
  }

  /** @param {Guard} guard */
  setGuard(guard) {
    this.guard = guard;
    for (const row of this.rows) row.setGuard(guard);
  }

  /**
   * Say that more was rejected since the table was loaded; rows under a reviewer's hands are not moved for it.
   *
   * @param {number} rejected how many texts the service has rejected so far
   */
  noticeTraffic(rejected) {
    // A service that was started anew counts from 0 again.
    const loaded = Math.min(this.rejected[1] ?? rejected, rejected);
    this.rejected = [rejected, loaded];
    const more = rejected - loaded;
    const says = more > 0 ? `${plural(more, "text was", "texts were")} rejected since this list was loaded; Refresh shows them.` : "";
    if (this.fresh.textContent !== says) this.fresh.textContent = says;
  }

  /** Load what is shown again, and what the open records have in common. */
  async refresh() {
    if (await this.load()) await this.groups.load();
  }

  /** List these records alone; all again, if it is none. @param {Only | null} only */
  showOnly(only) {
    this.only = only;
    this.decision.value = only === null ? this.decision.value : "open";
    const all = button("Show all", () => this.showOnly(null), { class: "small" });
    this.groupFilter.replaceChildren(...(only === null ? [] : [...only.says, " ", all]));
    this.load(1, true);
  }

  /** Show decisions that were made together. @param {number[]} ids @param {Decision | null} decision */
  showDecisions(ids, decision) {
    const changed = new Set(ids);
    for (const row of this.rows) {
      if (changed.has(row.stored.id)) row.showStored({ ...row.stored, decision });
    }
  }

  /**
   * Load a page of records; the one that is shown, if none is given.
   *
   * @param {number} [page]
   * @param {boolean} [focus] put the focus on the first row
   * @returns {Promise<boolean>} whether it is there
   */
  async load(page = this.page, focus = false) {
    this.loading.abort();
    this.loading = new AbortController();
    const { signal } = this.loading;
    const query = new URLSearchParams({
      decision: this.decision.value,
      q: this.text.value,
      page: String(page),
      size: this.size.value,
      ...(this.only === null ? {} : this.only.query),
    });
    try {
      /** @type {StoredPage} */
      const found = await ask(`v1/quarantine?${query}`, { signal });
      const last = Math.max(1, Math.ceil(found.total / found.size));
      if (found.items.length === 0 && page > last) return this.load(last, focus);
      this.rejected[1] = this.rejected[0];
      this.fresh.textContent = "";
      this.failed = false;
      this.show(found);
      if (focus) (this.rows[0]?.opener ?? this.text).focus();
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      this.failed = true;
      this.problem.replaceChildren(el("p", { class: "problem" }, explainError(error)));
      return false;
    }
  }

  /** The service answers: load again what could not be loaded. */
  recover() {
    if (!this.failed) return;
    this.failed = false; // one try for each time that it answers
    this.refresh();
  }

  /** @param {StoredPage} found */
  show(found) {
    this.page = found.page;
    this.rows = found.items.map((stored) => new Row(stored, this.guard));
    this.problem.replaceChildren(...damagedNodes(found.damaged));
    const says = found.damaged.length > 0 ? "No record of this page can be shown." : this.emptySays();
    const empty = el("tr", { role: "row" }, el("td", { role: "cell", colspan: 5, class: "empty" }, says));
    this.body.replaceChildren(...(this.rows.length === 0 ? [empty] : this.rows.flatMap((row) => [row.main, row.detail])));
    if (this.rows.length > 0) this.rove(this.rows[0]);
    const start = (found.page - 1) * found.size;
    const end = start + found.items.length + found.damaged.length;
    this.position.textContent = found.total === 0 ? "0 records" : `${count(start + 1)}\u2013${count(end)} of ${count(found.total)}`;
    setOff(this.previous, found.page <= 1);
    setOff(this.next, end >= found.total);
    announce(`Quarantine: ${plural(found.total, "record")}${found.total > 0 ? `, ${start + 1} to ${end} shown` : ""}.`);
  }

  emptySays() {
    if (this.only !== null) return "No record with this decision is among them.";
    if (this.text.value !== "") return "No record with this decision contains that. Records kept as hashes only are not searched.";
    return { open: "Nothing is waiting for a decision.", all: "The quarantine is empty." }[this.decision.value] ?? "No record has this decision.";
  }

  /**
   * The next page, or the one before.
   *
   * @param {1 | -1} by
   * @param {boolean} [focus]
   */
  turn(by, focus = false) {
    if ((by < 0 ? this.previous : this.next).getAttribute("aria-disabled") === "true") return;
    // Rows that were decided here no longer match the filter, so as many of the next page have moved up into this one.
    // Going on would skip them: the same page is asked for again, and begins with what was left undecided.
    const moved = by > 0 && this.decision.value !== "all" && this.rows.some((row) => !this.matches(row));
    this.load(this.page + (moved ? 0 : by), focus);
  }

  /** @param {Row} row */
  matches(row) {
    return this.decision.value === (row.stored.decision ?? "open");
  }

  /** @param {EventTarget | null} target */
  rowOf(target) {
    return this.rows.find((row) => target instanceof Node && row.main.contains(target));
  }

  /** Make this the row that Tab reaches. @param {Row} current */
  rove(current) {
    for (const row of this.rows) row.setReachable(row === current);
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const row = this.rowOf(event.target);
    if (!row) {
      // In an opened record; its text fields keep their keys.
      const around = this.rows.find((each) => event.target instanceof Node && each.detail.contains(event.target));
      if (event.key === "Escape" && around) around.toggle(false);
      return;
    }
    const at = this.rows.indexOf(row);
    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowDown: () => this.step(row, at + 1),
      ArrowUp: () => this.step(row, at - 1),
      Home: () => this.step(row, 0),
      End: () => this.step(row, this.rows.length - 1),
      PageDown: () => this.turn(1, true),
      PageUp: () => this.turn(-1, true),
      Escape: () => row.toggle(false),
      p: () => this.decide(row, "poison"),
      f: () => this.decide(row, "false_alarm"),
      u: () => this.decide(row, null),
    };
    const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action || (event.repeat && event.key.length === 1)) return;
    event.preventDefault();
    action();
  }

  /** @param {Row} from @param {number} to */
  step(from, to) {
    const row = this.rows[to];
    if (!row) return;
    this.rove(row);
    row.opener.focus();
    if (from.open) row.main.scrollIntoView({ block: "nearest" });
  }

  /** @param {Row} row @param {Decision | null} decision */
  decide(row, decision) {
    if (row.stored.decision !== decision) row.decide(decision);
  }
}

/**
 * Report records that are damaged in the database: they are on no page, and cannot be decided.
 *
 * @param {number[]} ids
 */
function damagedNodes(ids) {
  if (ids.length === 0) return [];
  const which = ids.length === 1 ? `Record ${ids[0]} of this page is` : `Records ${ids.join(", ")} of this page are`;
  return [el("p", { class: "problem" }, `${which} damaged in the database and cannot be shown. The service's log has the ids too.`)];
}

/**
 * Switch a button off but keep its focus, so that a reader who pressed it is not sent to the top of the page.
 *
 * @param {HTMLButtonElement} made
 * @param {boolean} off
 */
function setOff(made, off) {
  made.setAttribute("aria-disabled", String(off));
}
