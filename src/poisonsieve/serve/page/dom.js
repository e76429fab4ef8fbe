/**
 * Making elements. Nothing here, and nothing elsewhere on this page, parses a string as markup: texts come from
 * strangers, and a string only ever becomes a text node or the value of an attribute that is named in our own code.
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @typedef {string | number | boolean | null | undefined} Value
 * @typedef {Node | string | null} Child
 */

/**
 * @template {Element} E
 * @param {E} element
 * @param {Record<string, Value>} attributes true gives an empty attribute; false, null and undefined give none
 * @param {Child[]} children
 * @returns {E}
 */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/**
 * An HTML element; strings among its children become text.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, Value>} [attributes]
 * @param {...Child} children
 */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/**
 * An SVG element.
 *
 * @template {keyof SVGElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, Value>} [attributes]
 * @param {...Child} children
 */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/**
 * A button with what it does.
 *
 * @param {string} label
 * @param {() => void} onClick
 * @param {Record<string, Value>} [attributes]
 */
export function button(label, onClick, attributes = {}) {
  const made = el("button", { type: "button", ...attributes }, label);
  made.addEventListener("click", onClick);
  return made;
}

/**
 * The element of index.html with this id.
 *
 * @template {HTMLElement} E
 * @param {string} id
 * @param {new () => E} kind
 * @returns {E}
 */
export function byId(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`index.html has no ${kind.name} #${id}`);
  return found;
}

/** Say something to screen readers that is to be seen elsewhere. @param {string} message */
export function announce(message) {
  byId("announcer", HTMLElement).textContent = message;
}
