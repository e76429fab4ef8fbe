/** Asking again and again, gently. */

import { ApiError, keyEvents } from "./api.js";

/**
 * live: the last answer is fresh. paused: the tab is hidden. locked: a key is needed. failing: no answer, or an error.
 *
 * @typedef {{name: "live" | "paused" | "locked"} | {name: "failing", error: unknown}} PollState
 */

/**
 * Calls `once` every few seconds. After errors the waits double; they are drawn at random around that, so that many
 * open pages do not return to a recovering service all at once. A hidden tab asks nothing, and asks at once when it is
 * seen again.
 */
export class Poll {
  /**
   * @param {(signal: AbortSignal) => Promise<void>} once asks, and shows the answer
   * @param {(state: PollState) => void} onState
   * @param {{every?: number, slowest?: number}} [waits] milliseconds
   */
  constructor(once, onState, { every = 2000, slowest = 30_000 } = {}) {
    this.once = once;
    this.onState = onState;
    this.every = every;
    this.slowest = slowest;
    this.failures = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.current = new AbortController();
  }

  /** Begin. */
  start() {
    document.addEventListener("visibilitychange", () => this.now());
    keyEvents.addEventListener("changed", () => this.now());
    this.now();
  }

  /** Ask at once, or stop asking if the tab is hidden. */
  now() {
    clearTimeout(this.timer);
    this.current.abort();
    if (document.visibilityState === "hidden") {
      this.onState({ name: "paused" });
      return;
    }
    this.current = new AbortController();
    this.run(this.current.signal);
  }

  /** @param {AbortSignal} signal */
  async run(signal) {
    try {
      await this.once(signal);
      if (signal.aborted) return;
      this.failures = 0;
      this.onState({ name: "live" });
      this.again(this.every);
    } catch (error) {
      if (signal.aborted) return; // another round has begun
      if (error instanceof ApiError && error.status === 401) {
        this.onState({ name: "locked" }); // until the key changes
        return;
      }
      this.failures += 1;
      const asked = error instanceof ApiError ? 1000 * (error.retryAfter ?? 0) : 0;
      const wait = Math.max(asked, Math.min(this.slowest, this.every * 2 ** (this.failures - 1)));
      this.again(wait, error);
    }
  }

  /**
   * @param {number} wait
   * @param {unknown} [error]
   */
  again(wait, error) {
    const drawn = wait * (0.85 + 0.3 * Math.random());
    this.timer = setTimeout(() => this.now(), drawn);
    if (error !== undefined) this.onState({ name: "failing", error });
  }
}
