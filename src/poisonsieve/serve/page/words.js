/**
 * A text with the words marked that its confidence depends on.
 *
 * Invisible characters (zero width, direction marks, controls) are made visible. They are good hiding places for a
 * trigger, and could make a text look different from what the guard read.
 *
 * @typedef {import("./api.js").Explanation} Explanation
 * @typedef {import("./api.js").WordEffect} WordEffect
 */

import { button, el } from "./dom.js";
import { apart, change, confidence, count, plural } from "./format.js";

const LEVELS = 5;
const LEAST = 0.04; // of the strongest colour; weaker effects are not marked
const LIVELY = 0.15; // of the range of clean confidences: a weaker effect never gets the strongest colour
const SHOWN = 6000; // characters of a text to lay out at first; a browser stalls over a million
const LISTED = 6;
/** Controls, formats (zero width, direction), lone surrogates, odd spaces, variation selectors. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\u115f\u1160\u3164\uffa0\u00a0\u2000-\u200a\u202f\u205f\ufe00-\ufe0f\u{e0100}-\u{e01ef}]/u;
const SPARED = new Set(["\t", "\n"]);
const PICTURE = /[\p{Extended_Pictographic}\p{Emoji_Modifier}]/u;

/**
 * Return a text with its invisible characters named.
 *
 * @param {string} text
 * @returns {(Node | string)[]}
 */
export function visible(text) {
  /** @type {(Node | string)[]} */
  const parts = [];
  let plain = "";
  let previous = "";
  for (const character of text) {
    // After an emoji the zero width joiner and the variation selector are part of the picture.
    const joins =
      (character === "\ufe0f" && PICTURE.test(previous)) ||
      (character === "\u200d" && (PICTURE.test(previous) || previous === "\ufe0f"));
    if (INVISIBLE.test(character) && !SPARED.has(character) && !joins) {
      if (plain) parts.push(plain);
      plain = "";
      parts.push(el("span", { class: "invisible" }, codePoint(character)));
    } else {
      plain += character;
    }
    previous = character;
  }
  if (plain) parts.push(plain);
  return parts;
}

/** @param {string} character */
function codePoint(character) {
  return `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;
}

/**
 * Return a box for a text; a very long one is cut, with a button for the rest.
 *
 * @param {string} text
 * @param {(part: string) => (Node | string)[]} [lay] makes nodes of the text's beginning
 */
export function textBox(text, lay = visible) {
  const box = el("div", { class: "full-text", dir: "auto", tabindex: 0, role: "group", "aria-label": "Text" });
  const end = cut(text, SHOWN);
  box.append(...lay(text.slice(0, end)));
  if (end === text.length) return box;
  const rest = button(`Show ${plural(text.length - end, "more character")}`, () => {
    box.replaceChildren(...lay(text));
    box.focus();
  }, { class: "small" });
  box.append(el("span", {}, " \u2026 "), rest);
  return box;
}

/**
 * Return the text with its words marked, their meaning for the verdict, and a table of the strongest.
 *
 * @param {string} text what the service was asked about
 * @param {Explanation} explanation
 * @param {number} spread the width of the range that confidences of clean text have
 * @returns {Node[]}
 */
export function explained(text, explanation, spread) {
  if (explanation.confidence === null) {
    return [el("p", { class: "quiet" }, "The guard could not score this text, so no word can be weighed."), textBox(text)];
  }
  const strongest = Math.max(...explanation.words.map((word) => Math.abs(word.effect)), LIVELY * spread);
  const places = locate(text, explanation.words);
  const lay = (/** @type {string} */ part) => marked(part, places, explanation, strongest);
  return [
    el("p", { class: "finding" }, finding(explanation, spread)),
    textBox(text, lay),
    legend(),
    ...(explanation.truncated ? [el("p", { class: "quiet" }, limit(text, places))] : []),
    ...table(explanation, strongest),
  ];
}

/**
 * Return where each word begins. The service splits at white space as Python defines it, and scripts without spaces into
 * letters; searching for each word after the previous one finds the same positions, whatever this browser does.
 *
 * @param {string} text
 * @param {WordEffect[]} words
 * @returns {{word: WordEffect, start: number, end: number}[]}
 */
export function locate(text, words) {
  const places = [];
  let from = 0;
  for (const word of words) {
    const start = text.indexOf(word.word, from);
    if (start < 0) break;
    from = start + word.word.length;
    places.push({ word, start, end: from });
  }
  return places;
}

/**
 * @param {string} text perhaps the beginning only
 * @param {ReturnType<typeof locate>} places
 * @param {Explanation} explanation
 * @param {number} strongest
 */
function marked(text, places, explanation, strongest) {
  /** @type {(Node | string)[]} */
  const parts = [];
  let from = 0;
  for (const { word, start, end } of places) {
    if (start >= text.length) break;
    parts.push(...visible(text.slice(from, start)), mark(word, text.slice(start, end), explanation, strongest));
    from = Math.min(end, text.length);
  }
  parts.push(...visible(text.slice(from)));
  return parts;
}

/**
 * @param {WordEffect} word
 * @param {string} shown
 * @param {Explanation} explanation
 * @param {number} strongest
 */
function mark(word, shown, explanation, strongest) {
  const strength = Math.abs(word.effect) / strongest;
  const framed = decides(word, explanation);
  if (strength < LEAST && !framed) return el("span", {}, ...visible(shown));
  const level = Math.min(LEVELS, Math.ceil(LEVELS * strength));
  const kind = strength < LEAST ? "" : word.effect > 0 ? `up-${level} ` : "down ";
  const classes = `word ${kind}${framed ? "decides" : ""}`.trimEnd();
  return el("mark", { class: classes, title: `${change(word.effect)} without this word` }, ...visible(shown));
}

/** Without this one word the text would have passed. @param {WordEffect} word @param {Explanation} explanation */
function decides(word, explanation) {
  const { confidence: whole, gamma } = explanation;
  return whole !== null && whole > gamma && word.confidence_without !== null && word.confidence_without <= gamma;
}

/**
 * What the words mean for the verdict. A text just above gamma is said to be that: without almost any of its words it would
 * pass, and that is no sign of a trigger.
 *
 * @param {Explanation} explanation
 * @param {number} spread the width of the range that confidences of clean text have
 */
function finding(explanation, spread) {
  const { confidence: whole, gamma, words } = explanation;
  if (whole === null) return "";
  if (words.length === 0) return "There is no word to leave out.";
  if (whole <= gamma) return "The text passes; no word carries it above gamma.";
  const deciding = words.filter((word) => decides(word, explanation)).sort((a, b) => b.effect - a.effect);
  if (deciding.length === 0) {
    return "No single word decides: without any one of them the text is still above gamma. Several may work together.";
  }
  const [first] = deciding;
  if (first.effect < LIVELY * spread) return narrow(deciding.length, whole, gamma);
  const [without, bar] = apart(first.confidence_without ?? 0, gamma);
  const falls = `without \u201c${excerpt(first.word, 40)}\u201d the confidence is ${without}, gamma is ${bar}.`;
  if (deciding.length === 1) return `The text would pass without one word: ${falls}`;
  return `The text would pass without any one of ${count(deciding.length)} words, all framed; most of all, ${falls}`;
}

/** @param {number} deciding how many words decide @param {number} whole @param {number} gamma */
function narrow(deciding, whole, gamma) {
  const [found, bar] = apart(whole, gamma);
  const which = deciding === 1 ? "without the framed word" : `without any one of the ${count(deciding)} framed words`;
  return (
    `The text is only just above gamma: ${found}, gamma is ${bar}. It would pass ${which}, but none of them changes much: ` +
    "this does not look like a trigger word, and clean texts are rejected like this."
  );
}

function legend() {
  return el(
    "p",
    { class: "legend quiet" },
    el("span", {}, el("mark", { class: "word up-2" }, "surer"), " ", el("mark", { class: "word up-5" }, "much surer"), " with this word"),
    el("span", {}, el("mark", { class: "word decides" }, "framed"), ": without it the text would pass"),
    el("span", {}, el("mark", { class: "word down" }, "less sure"), " with this word"),
  );
}

/** @param {string} text @param {ReturnType<typeof locate>} places */
function limit(text, places) {
  const end = places.length === 0 ? 0 : places[places.length - 1].end;
  return text.slice(end).trim() === ""
    ? "The guard does not read this text to its end; the rest is not weighed."
    : `The first ${plural(places.length, "word")} were left out one by one; the ${count(text.length - end)} characters after them were not.`;
}

/** @param {Explanation} explanation @param {number} strongest */
function table(explanation, strongest) {
  const top = [...explanation.words]
    .filter((word) => word.confidence_without !== null && word.effect !== 0)
    .sort((a, b) => Math.abs(b.effect) - Math.abs(a.effect))
    .filter((word, place) => place === 0 || Math.abs(word.effect) >= LEAST * strongest || decides(word, explanation))
    .slice(0, Math.max(LISTED, explanation.words.filter((word) => decides(word, explanation)).length));
  if (top.length === 0) return [];
  const rows = top.map((word) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, el("bdi", {}, ...visible(excerpt(word.word, 40)))),
      el("td", {}, confidence(word.confidence_without ?? 0)),
      el("td", {}, change(word.effect)),
    ),
  );
  const heads = ["Word", "Confidence without it", "Change"].map((name) => el("th", { scope: "col" }, name));
  return [
    el(
      "table",
      { class: "effects" },
      el("caption", { class: "unseen" }, "The words with the largest effect"),
      el("thead", {}, el("tr", {}, ...heads)),
      el("tbody", {}, ...rows),
    ),
  ];
}

/**
 * Return the beginning of a text.
 *
 * @param {string} text
 * @param {number} most characters
 */
export function excerpt(text, most) {
  const end = cut(text, most);
  return end < text.length ? `${text.slice(0, end)}\u2026` : text;
}

/** A place at most `most` in, and not inside a surrogate pair. @param {string} text @param {number} most */
function cut(text, most) {
  if (text.length <= most) return text.length;
  const last = text.charCodeAt(most - 1);
  return last >= 0xd800 && last <= 0xdbff ? most - 1 : most;
}
