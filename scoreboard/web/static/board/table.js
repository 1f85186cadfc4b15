/** The table of ranks, names and scores. Rows move to their new position with an animation. */

import { lengthOf, numberText, scoreText, shareOf } from "../design/format.js";

export { scoreText };

const MOVE = { duration: 450, easing: "cubic-bezier(0.2, 0.8, 0.2, 1)" };
const APPEAR = { duration: 300, easing: "ease-out" };
// Milliseconds for which a changed score is highlighted, and an arrow shows a changed rank.
const HIGHLIGHT_DURATION = 2_000;
const ARROW_DURATION = 12_000;
const MEDALS = 3;

const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
/**
 * @param {string} name
 * @returns {HTMLElement} the name, with its own text direction
 */
export function nameElement(name) {
  const element = document.createElement("bdi");
  element.textContent = name;
  element.title = name;
  return element;
}

/** A table whose rows can be replaced. */
export class ScoreTable {
  /** @type {Map<string, HTMLTableRowElement>} by user id */
  #rows = new Map();
  /** @type {WeakMap<Element, Animation>} */
  #moves = new WeakMap();
  #body = document.createElement("tbody");
  #scoreHead = document.createElement("th");

  /**
   * @param {string} caption the table's name for screen readers
   * @param {{className?: string}} [options] a class for a layout other than that of a table
   */
  constructor(caption, { className = "" } = {}) {
    this.element = document.createElement("table");
    this.element.className = `scores ${className}`.trim();
    this.element.createCaption().textContent = caption;
    const thead = this.element.createTHead();
    const head = thead.insertRow();
    // Rows and cells with another `display` lose their implicit roles.
    this.element.setAttribute("role", "table");
    thead.setAttribute("role", "rowgroup");
    head.setAttribute("role", "row");
    this.#body.setAttribute("role", "rowgroup");
    for (const [name, label] of [["rank", "Rank"], ["name", "Name"], ["score", "Score"]]) {
      const cell = name === "score" ? this.#scoreHead : document.createElement("th");
      cell.scope = "col";
      cell.setAttribute("role", "columnheader");
      cell.className = name;
      cell.textContent = label;
      head.append(cell);
    }
    this.element.append(this.#body);
  }

  /**
   * @param {import("./live.js").Row[]} rows
   * @param {import("./live.js").Board | null} board
   * @param {string} [own] the id of the user whose row is highlighted
   */
  show(rows, board, own) {
    setText(this.#scoreHead, board?.format === "time" ? "Time" : "Score");
    const before = this.#places();
    const known = this.#rows;
    this.#rows = new Map(rows.map((row) => [row.userId, known.get(row.userId) ?? newRow()]));
    for (const row of rows) {
      const element = /** @type {HTMLTableRowElement} */ (this.#rows.get(row.userId));
      fill(element, row, board, row.userId === own);
      const share = shareOf(row.score, rows[0].score, rows[rows.length - 1].score);
      element.style.setProperty("--share", String(share));
    }
    const inOrder = [...this.#rows.values()];
    if (inOrder.length !== this.#body.rows.length || inOrder.some(isElsewhere, this.#body.rows)) {
      this.#body.replaceChildren(...inOrder);
      this.#move(before);
    }
  }

  /** @returns {Map<Element, DOMRect>} the position of each row, during an animation too */
  #places() {
    return new Map([...this.#rows.values()].map((row) => [row, row.getBoundingClientRect()]));
  }

  /** @param {Map<Element, DOMRect>} before the previous position of each row */
  #move(before) {
    if (reducedMotion.matches || document.hidden) {
      return;
    }
    const rows = [...this.#rows.values()];
    rows.forEach((row) => this.#moves.get(row)?.cancel());
    const after = rows.map((row) => row.getBoundingClientRect());
    rows.forEach((row, place) => {
      const was = before.get(row);
      const { left, top } = after[place];
      if (was === undefined) {
        this.#moves.set(row, row.animate([{ opacity: 0 }, { opacity: 1 }], APPEAR));
      } else if (was.top !== top || was.left !== left) {
        const zIndex = was.top > top ? 1 : 0; // a rising row is in front
        const transform = `translate(${was.left - left}px, ${was.top - top}px)`;
        const from = { transform, zIndex };
        this.#moves.set(row, row.animate([from, { transform: "none", zIndex }], MOVE));
      }
    });
  }
}

/**
 * @this {HTMLCollection}
 * @param {Element} row
 * @param {number} place
 */
function isElsewhere(row, place) {
  return this[place] !== row;
}

function newRow() {
  const row = document.createElement("tr");
  row.setAttribute("role", "row");
  const rank = row.insertCell();
  rank.className = "rank";
  const name = document.createElement("th");
  name.scope = "row";
  name.className = "name";
  row.append(name);
  const score = row.insertCell();
  score.className = "score";
  rank.setAttribute("role", "cell");
  name.setAttribute("role", "rowheader");
  score.setAttribute("role", "cell");
  return row;
}

/**
 * @param {HTMLTableRowElement} element
 * @param {import("./live.js").Row} row
 * @param {import("./live.js").Board | null} board
 * @param {boolean} isOwn
 */
function fill(element, row, board, isOwn) {
  const [rank, name, score] = element.cells;
  element.dataset.userId = row.userId;
  element.classList.toggle("own", isOwn);
  const { rank: rankBefore, score: before } = element.dataset;
  if (rankBefore && row.rank !== Number(rankBefore)) {
    const places = Number(rankBefore) - row.rank;
    const text = `${places > 0 ? "▲" : "▼"}${Math.abs(places)}`;
    mark(name, "moved", text, ARROW_DURATION);
  }
  setText(rank, numberText(row.rank));
  element.dataset.rank = String(row.rank);
  rank.dataset.medal = row.rank <= MEDALS ? String(row.rank) : "none";
  if (name.textContent !== row.name || !name.firstChild) {
    name.replaceChildren(nameElement(row.name));
  }
  const text = scoreText(row.score, board?.format);
  score.dataset.length = lengthOf(text);
  if (setText(score, text) && before && row.score !== Number(before)) {
    const isBetter = row.score > Number(before) === (board?.order !== "asc");
    mark(score, "change", isBetter ? "up" : "down", HIGHLIGHT_DURATION);
  }
  element.dataset.score = String(row.score);
}

/**
 * @param {HTMLElement} element
 * @param {string} text
 * @returns {boolean} whether the text has changed
 */
function setText(element, text) {
  const hasChanged = element.textContent !== text;
  if (hasChanged) {
    element.textContent = text;
  }
  return hasChanged;
}

/** @type {WeakMap<Element, number>} */
const timers = new WeakMap();

/**
 * Set an attribute of a cell for a while.
 *
 * @param {HTMLElement} cell
 * @param {string} name without `data-`
 * @param {string} value
 * @param {number} duration milliseconds
 */
function mark(cell, name, value, duration) {
  cell.dataset[name] = value;
  clearTimeout(timers.get(cell));
  timers.set(cell, setTimeout(() => delete cell.dataset[name], duration));
}
