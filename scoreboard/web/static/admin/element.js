/** Create elements. All text is inserted as text, never as markup. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 * @param {...(Node | string)} children
 * @returns {SVGElement}
 */
export function svgElement(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

/**
 * @param {string} text
 * @param {() => void} onClick
 * @param {Record<string, string>} attributes
 */
export function button(text, onClick, attributes = {}) {
  const made = element("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", onClick);
  return made;
}

/** The format of every time of day on the page. */
export const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };

/** @param {string} moment in ISO 8601 */
export function time(moment) {
  const day = { month: "short", day: "numeric" };
  const at = new Date(moment);
  const year = at.getFullYear() === new Date().getFullYear() ? {} : { year: "numeric" };
  const text = at.toLocaleString([], { ...year, ...day, ...CLOCK });
  return element("time", { datetime: moment }, text);
}

/**
 * Replace the rows of a table. The focus stays on the button with the same `data-key`.
 *
 * @param {HTMLElement} table
 * @param {HTMLElement[]} rows
 */
export function setRows(table, rows) {
  const body = table.querySelector("tbody");
  const active = body.contains(document.activeElement) ? document.activeElement : null;
  body.replaceChildren(...rows);
  table.hidden = rows.length === 0;
  const key = active?.dataset.key;
  [...body.querySelectorAll("[data-key]")].find((each) => each.dataset.key === key)?.focus();
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    made.setAttribute(name, String(value));
  }
  made.append(...children);
  return made;
}
