/**
 * Brings the parts of the page together.
 *
 * @typedef {import("./api.js").Guard} Guard
 * @typedef {import("./api.js").Stats} Stats
 * @typedef {import("./poll.js").PollState} PollState
 */

import { ask, explainError, keyEvents } from "./api.js";
import { byId, el } from "./dom.js";
import { clock, confidence, count, percent } from "./format.js";
import { KeyDialog } from "./key.js";
import { LiveView } from "./live.js";
import { Poll } from "./poll.js";
import { QuarantineTable } from "./quarantine.js";
import { ScreenForm } from "./screen.js";
import { WatchView } from "./watch.js";

const connection = byId("connection", HTMLElement);
const connectionText = byId("connection-text", HTMLElement);
const tryNow = byId("try-now", HTMLButtonElement);

const screenForm = new ScreenForm();
const live = new LiveView();
const quarantine = new QuarantineTable();
const watch = new WatchView(quarantine);
new KeyDialog();

/** @type {Guard | null} */
let guard = null;
/** @type {Date | null} */
let lastAnswer = null;

const poll = new Poll(round, showState);
tryNow.addEventListener("click", () => poll.now());
keyEvents.addEventListener("changed", () => {
  guard = null; // another key may be another service behind the same address
  watch.forget();
  quarantine.refresh();
});
poll.start();
quarantine.refresh();

/** @param {AbortSignal} signal */
async function round(signal) {
  const inForce = guard ?? (await learnGuard(signal));
  /** @type {Stats} */
  const stats = await ask("v1/stats", { signal });
  lastAnswer = new Date();
  live.show(stats, inForce);
  quarantine.noticeTraffic(stats.poisoned + stats.not_scored);
  await watch.notice(stats.watch_checks, signal);
}

/** @param {AbortSignal} signal */
async function learnGuard(signal) {
  /** @type {Guard} */
  const found = await ask("v1/guard", { signal });
  guard = found;
  showFacts(found);
  screenForm.setGuard(found);
  quarantine.setGuard(found);
  return found;
}

/** @param {PollState} state */
function showState(state) {
  const bad = state.name === "failing";
  if (bad) {
    guard = null; // the service that comes back may have another guard
    watch.forget();
  }
  connection.dataset.state = state.name;
  live.setStale(state.name !== "live");
  if (state.name === "live") quarantine.recover();
  tryNow.hidden = !bad;
  const since = lastAnswer === null ? "" : `; showing the state of ${clock(lastAnswer)}`;
  const says = {
    live: () => "live",
    paused: () => "paused while this tab is hidden",
    locked: () => "an API key is needed",
    failing: () => `${explainError(/** @type {any} */ (state).error)} Retrying automatically${since}.`,
  }[state.name]();
  // The same words are not written again, or a screen reader would say them every few seconds.
  if (connectionText.textContent !== says) connectionText.textContent = says;
}

/** @param {Guard} shown */
function showFacts(shown) {
  const rule =
    shown.rule === "frr" && shown.frr !== null
      ? `from ${count(shown.calibration_rows)} calibration texts: at most ${percent(shown.frr)} of clean text rejected, ${
          shown.frr_confidence === null ? "on average" : `with ${percent(shown.frr_confidence)} confidence`
        }`
      : "fixed by hand";
  const asked = shown.rule === "frr" ? " FRR, the false-rejection rate, is the share of clean texts that this may reject." : "";
  const facts = [
    ["Guard", shown.defense, "The detector that gives every text a confidence: the higher, the more suspicious."],
    ["Gamma", `${confidence(shown.gamma)}, ${rule}`, `The threshold: a text whose confidence is above gamma is rejected.${asked}`],
    ["Classes", shown.label_names.join(", "), "What the victim can answer."],
    ["Victim", shown.victim ? "classifies texts that pass" : "none: verdicts only", "The classifier behind the guard. It never reads a rejected text."],
    ["Digest", shown.guard_digest.slice(0, 12), "Identifies the guard's files: another guard has another digest."],
  ];
  byId("facts", HTMLElement).replaceChildren(
    ...facts.map(([name, value, title]) => el("div", { title }, el("dt", {}, name), el("dd", {}, value))),
  );
}
