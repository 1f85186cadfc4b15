/** Create elements. All text is inserted as text, never as markup. */

const SVG = "http://www.w3.org/2000/svg";
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "short" });
// The units of relative times, with the seconds in each.
const UNITS = [
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
];

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
  const kind = { type: "button", class: "button small" };
  const made = element("button", { ...kind, ...attributes }, text);
  made.addEventListener("click", onClick);
  return made;
}

/**
 * @param {string} label
 * @param {HTMLElement} control
 * @param {string} [hint]
 */
export function field(label, control, hint) {
  const more = hint ? [element("span", { class: "hint" }, hint)] : [];
  return element("label", { class: "field" }, element("span", {}, label), control, ...more);
}

/**
 * @param {Record<string, string>} options labels by value
 * @param {string} value
 * @param {Record<string, string>} attributes
 * @returns {HTMLSelectElement}
 */
export function select(options, value, attributes = {}) {
  const all = Object.entries(options).map(([key, label]) =>
    element("option", { value: key, ...(key === value ? { selected: "" } : {}) }, label),
  );
  return element("select", attributes, ...all);
}

/** @param {string} name of a user, with its own text direction */
export function nameOf(name) {
  return element("bdi", { class: "name" }, name);
}

/** The format of every time of day on the page. */
export const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };

/** @param {string} moment in ISO 8601 */
export function time(moment) {
  const at = new Date(moment);
  return element("time", { datetime: moment, title: at.toLocaleString() }, absolute(at));
}

/** @param {string} moment in ISO 8601; shown as "5 min. ago", with the whole time in its title */
export function ago(moment) {
  const at = new Date(moment);
  const seconds = (at - Date.now()) / 1000;
  const [unit, size] = UNITS.find(([, each]) => Math.abs(seconds) >= each) ?? ["second", 1];
  const text = Math.abs(seconds) < 7 * 86_400 ? relative.format(Math.round(seconds / size), unit) : absolute(at);
  return element("time", { datetime: moment, title: at.toLocaleString() }, text);
}

/** @param {Date} at */
function absolute(at) {
  const year = at.getFullYear() === new Date().getFullYear() ? {} : { year: "numeric" };
  const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  return at.toLocaleString([], { ...year, month: "short", day: "numeric", ...clock });
}

/**
 * Replace the children. The focus stays on the control with the same `data-key`.
 *
 * @param {HTMLElement} parent
 * @param {Node[]} children
 */
export function setChildren(parent, children) {
  const active = parent.contains(document.activeElement) ? document.activeElement : null;
  parent.replaceChildren(...children);
  const key = active?.dataset.key;
  if (key) {
    [...parent.querySelectorAll("[data-key]")].find((each) => each.dataset.key === key)?.focus();
  }
}

/**
 * Replace the rows of a table, which is hidden without any.
 *
 * @param {HTMLElement} table
 * @param {HTMLElement[]} rows
 */
export function setRows(table, rows) {
  setChildren(table.querySelector("tbody"), rows);
  table.hidden = rows.length === 0;
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    made.setAttribute(name, String(value));
  }
  made.append(...children);
  return made;
}
