/** Numbers and times as they are shown. */

/**
 * A confidence. Those of a sure model crowd just below 1, so that there more digits are shown: 0.99987, not 1.000.
 *
 * @param {number} value
 */
export function confidence(value) {
  if (value < 0 || value > 1) return trimmed(value, 4);
  const room = Math.min(value, 1 - value);
  const digits = room <= 0 ? 3 : Math.min(9, Math.max(3, 1 - Math.floor(Math.log10(room))));
  return value.toFixed(digits);
}

/**
 * Two numbers with as many digits as tell them apart, so that 0.9312 > 0.9311 does not read 0.931 > 0.931.
 *
 * @param {number} left
 * @param {number} right
 * @returns {[string, string]}
 */
export function apart(left, right) {
  const shown = /** @type {[string, string]} */ ([confidence(left), confidence(right)]);
  for (let digits = 4; shown[0] === shown[1] && left !== right && digits <= 17; digits++) {
    shown[0] = trimmed(left, digits);
    shown[1] = trimmed(right, digits);
  }
  return shown;
}

/** A change of a confidence, with its sign. @param {number} value */
export function change(value) {
  const size = Math.abs(value);
  const shown = size >= 100 ? trimmed(size, 4) : size.toFixed(3);
  return `${value < 0 ? "+" : "\u2212"}${shown}`;
}

/** A share in [0, 1] as per cent. @param {number} share */
export function percent(share) {
  const value = 100 * share;
  if (value === 0 || value === 100) return `${value}%`;
  if (value > 99) return `${Math.min(value, 99.99).toFixed(2)}%`;
  return value < 10 ? `${trimmed(value, 2)}%` : `${value.toFixed(1)}%`;
}

/** A count, with its thousands apart. @param {number} value */
export function count(value) {
  return value.toLocaleString("en");
}

/** A point in time, to the second, in the reader's time zone. @param {string} iso */
export function time(iso) {
  const then = new Date(iso);
  const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
  const day = `${then.getFullYear()}-${two(then.getMonth() + 1)}-${two(then.getDate())}`;
  return `${day} ${clock(then)}`;
}

/** The time of day. @param {Date} then */
export function clock(then) {
  const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
  return `${two(then.getHours())}:${two(then.getMinutes())}:${two(then.getSeconds())}`;
}

/** One thing, several things. @param {number} number @param {string} one @param {string} [several] */
export function plural(number, one, several = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : several}`;
}

/** @param {number} value @param {number} digits significant ones */
function trimmed(value, digits) {
  return String(Number(value.toPrecision(digits)));
}
