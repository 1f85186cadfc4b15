/** The table of ranks, names and scores. Rows move to their new position with an animation. */

const MOVE = { duration: 450, easing: "cubic-bezier(0.2, 0.8, 0.2, 1)" };
const APPEAR = { duration: 300, easing: "ease-out" };
const HIGHLIGHT_DURATION = 2_000; // milliseconds
const MEDALS = 3;

const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
const numbers = new Intl.NumberFormat(undefined, { maximumFractionDigits: 20 });

/**
 * @param {number} score
 * @param {"number" | "time"} [format] of the board
 * @returns {string} the number in the user's format, or milliseconds as 1:23.456
 */
export function scoreText(score, format = "number") {
  return format === "time" ? timeText(Math.round(score)) : numbers.format(score);
}

/** @param {number} milliseconds */
function timeText(milliseconds) {
  const left = Math.abs(milliseconds);
  const hours = Math.floor(left / 3_600_000);
  const minutes = String(Math.floor(left / 60_000) % 60).padStart(hours ? 2 : 1, "0");
  const seconds = ((left % 60_000) / 1000).toFixed(3).padStart(6, "0");
  return `${milliseconds < 0 ? "−" : ""}${hours ? `${hours}:` : ""}${minutes}:${seconds}`;
}

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

  /** @param {string} caption the table's name for screen readers */
  constructor(caption) {
    this.element = document.createElement("table");
    this.element.className = "scores";
    this.element.createCaption().textContent = caption;
    const head = this.element.createTHead().insertRow();
    for (const [name, label] of [["rank", "Rank"], ["name", "Name"], ["score", "Score"]]) {
      const cell = name === "score" ? this.#scoreHead : document.createElement("th");
      cell.scope = "col";
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
    }
    const inOrder = [...this.#rows.values()];
    if (inOrder.length !== this.#body.rows.length || inOrder.some(isElsewhere, this.#body.rows)) {
      this.#body.replaceChildren(...inOrder);
      this.#move(before);
    }
  }

  /** @returns {Map<Element, number>} the position of each row, during an animation too */
  #places() {
    const places = new Map();
    for (const row of this.#rows.values()) {
      places.set(row, row.getBoundingClientRect().top);
    }
    return places;
  }

  /** @param {Map<Element, number>} before the previous position of each row */
  #move(before) {
    if (reducedMotion.matches || document.hidden) {
      return;
    }
    const rows = [...this.#rows.values()];
    rows.forEach((row) => this.#moves.get(row)?.cancel());
    const after = rows.map((row) => row.getBoundingClientRect().top);
    rows.forEach((row, place) => {
      const was = before.get(row);
      if (was === undefined) {
        this.#moves.set(row, row.animate([{ opacity: 0 }, { opacity: 1 }], APPEAR));
      } else if (was !== after[place]) {
        const zIndex = was > after[place] ? 1 : 0; // a rising row is in front
        const from = { transform: `translateY(${was - after[place]}px)`, zIndex };
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
  const rank = row.insertCell();
  rank.className = "rank";
  const name = document.createElement("th");
  name.scope = "row";
  name.className = "name";
  row.append(name);
  row.insertCell().className = "score";
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
  setText(rank, String(row.rank));
  rank.dataset.medal = row.rank <= MEDALS ? String(row.rank) : "none";
  if (name.textContent !== row.name || !name.firstChild) {
    name.replaceChildren(nameElement(row.name));
  }
  const before = element.dataset.score;
  if (setText(score, scoreText(row.score, board?.format)) && before && row.score !== Number(before)) {
    const isBetter = row.score > Number(before) === (board?.order !== "asc");
    highlight(score, isBetter ? "up" : "down");
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
 * Highlight a changed score.
 *
 * @param {HTMLElement} cell
 * @param {"up" | "down"} change
 */
function highlight(cell, change) {
  cell.dataset.change = change;
  clearTimeout(timers.get(cell));
  timers.set(cell, setTimeout(() => delete cell.dataset.change, HIGHLIGHT_DURATION));
}
