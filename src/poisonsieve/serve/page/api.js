/**
 * The service's HTTP interface. Addresses are relative, so that the page also works below a prefix of a reverse proxy.
 *
 * @typedef {"passed" | "poisoned" | "not_scored"} Outcome the last two are rejected
 * @typedef {{outcome: Outcome, cause: string | null, rejected: boolean, reason: string | null,
 *   confidence: number | null, gamma: number, truncated: boolean, label: number | null, label_name: string | null,
 *   score: number | null}} Verdict
 * @typedef {{request_id: string, gamma: number, verdicts: Verdict[]}} Screened
 * @typedef {{word: string, confidence_without: number | null, effect: number}} WordEffect
 * @typedef {{confidence: number | null, gamma: number, words: WordEffect[], truncated: boolean}} Explanation
 * @typedef {{edges: number[], counts: number[]}} Histogram
 * @typedef {{defense: string, gamma: number, rule: "fixed" | "frr", frr: number | null, frr_confidence: number | null, calibration_rows: number,
 *   label_names: string[], guard_digest: string, victim: boolean, score_range: [number | null, number | null],
 *   histogram: Histogram}} Guard
 * @typedef {{ks: number | null, bar: number | null, psi: number | null, drifted: boolean | null,
 *   recent_texts: number, calibration_rows: number}} Drift
 * @typedef {{passed: number, poisoned: number, not_scored: number, since: string, queue_length: number,
 *   watch_checks: number, drift: Drift, recent: {edges: number[], counts_passed: number[], counts_rejected: number[]}}} Stats
 * @typedef {{label: number, label_name: string, texts: number, above: number}} WatchedClass
 * @typedef {{text_sha256: string, request_id: string, text_index: number, outcome: Outcome, score: number,
 *   id: number | null, text: string | null}} Driving
 * @typedef {{time: string, finding: "alike" | "campaign" | "mixed" | "spread" | "whole", says: string, p_value: number,
 *   texts: number, by_class: WatchedClass[], flagged: number, passed: number, driving: Driving[]}} Check
 * @typedef {{state: "off" | "gathering" | "quiet" | "differs" | "alarm", off: string | null, alarm_since: string | null,
 *   texts: number, min_texts: number, false_alarm_days: number, checks: number, last: Check | null, flagged: number[]}} Watch
 * @typedef {"poison" | "false_alarm"} Decision
 * @typedef {{id: number, time: string, text: string | null, text_sha256: string, text_chars: number,
 *   confidence: number | null, gamma: number, outcome: Outcome, cause: string, reason: string, guard_digest: string,
 *   request_id: string, text_index: number, decision: Decision | null, decided_at: string | null, note: string | null}} Stored
 * @typedef {{kind: "contains" | "begins" | "character", phrase: string, rejected: number, of_rejected: number,
 *   passed: number, of_passed: number, p_value: number, says: string, group: string, ids: number[]}} Group
 * @typedef {{groups: Group[], rejected_texts: number, passed_texts: number}} Groups
 * @typedef {{items: Stored[], total: number, damaged: number[], page: number, size: number}} StoredPage
 */

const STORED_UNDER = "poisonsieve-api-key";
const TIMEOUT_MS = 45_000;

/** The service answered, with an error. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} detail
   * @param {number | null} retryAfter seconds that the service asks to wait
   */
  constructor(status, detail, retryAfter = null) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** No answer came. */
export class UnreachableError extends Error {}

/** Fires `refused` when a key is needed or wrong, and `changed` when another key is used. */
export const keyEvents = new EventTarget();

let key = stored();

/** Whether there is a key. */
export function hasKey() {
  return key !== null;
}

/**
 * Use another key from now on; null forgets it. It goes into this tab's session storage and nowhere else.
 *
 * @param {string | null} value
 */
export function useKey(value) {
  key = value;
  try {
    if (value === null) sessionStorage.removeItem(STORED_UNDER);
    else sessionStorage.setItem(STORED_UNDER, value);
  } catch {
    // Storage is switched off: the key lives as long as the page does.
  }
  keyEvents.dispatchEvent(new Event("changed"));
}

function stored() {
  try {
    return sessionStorage.getItem(STORED_UNDER);
  } catch {
    return null;
  }
}

/**
 * Ask the service.
 *
 * @template T
 * @param {string} path without a slash at the beginning
 * @param {{body?: unknown, signal?: AbortSignal}} [options] a body makes it a POST
 * @returns {Promise<T>}
 * @throws {ApiError | UnreachableError} and what an aborted signal throws
 */
export async function ask(path, { body, signal } = {}) {
  const used = key;
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json" };
  if (used !== null) headers["X-API-Key"] = used;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  /** @type {Response} */
  let response;
  /** @type {any} */
  let answer;
  try {
    response = await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      cache: "no-store",
      redirect: "error",
    });
    answer = await response.json().catch((error) => {
      if (error instanceof SyntaxError) return null; // a proxy's error page
      throw error;
    });
  } catch (error) {
    signal?.throwIfAborted();
    throw new UnreachableError(timeout.aborted ? "The service did not answer in time." : "The service cannot be reached.");
  }
  if (response.ok && answer !== null) return answer;
  // A request that left before the key was changed says nothing about the new one.
  if (response.status === 401 && used === key) keyEvents.dispatchEvent(new Event("refused"));
  const detail = typeof answer?.detail === "string" ? answer.detail : `The service answered ${response.status}.`;
  const wait = Number(response.headers.get("Retry-After") ?? NaN);
  throw new ApiError(response.status, detail, Number.isFinite(wait) ? wait : null);
}

/**
 * What went wrong, in a sentence for the reader.
 *
 * @param {unknown} error
 */
export function explainError(error) {
  if (error instanceof UnreachableError) return error.message;
  if (!(error instanceof ApiError)) throw error; // a bug of this page, which belongs in the console
  if (error.status === 401) return "The service requires an API key.";
  const wait = error.retryAfter === null ? "" : ` (in ${error.retryAfter} s)`;
  return `The service refused: ${error.message}${wait}`;
}
