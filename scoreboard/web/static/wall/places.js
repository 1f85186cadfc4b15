/**
 * The list on the wall: a podium of three, and the rows below it.
 *
 * @typedef {import("../board/live.js").Row} Row
 * @typedef {import("../board/live.js").Board} Board
 */

import { moveFrom, placesOf } from "./motion.js";
import { allowBreaks, changeText, setFitting, setText } from "./texts.js";
import { scoreText, shareOf } from "../design/format.js";
import { nameElement } from "../board/table.js";

export const PODIUM = 3;
const HIGHLIGHT_DURATION = 5_000; // milliseconds
// Widths in digits from which the text is smaller.
const NAME_FITS = [13, 22, 36];
const SCORE_FITS = [6, 8, 12, 17];
const LONGEST = String(SCORE_FITS.length + 1);
const GROUPS = /(?:^\D+)?\d+\D*/g; // of digits, each with the separator after it

/** One list. It shows what has changed since the last `show`. */
export class Places {
  /** @type {Map<string, Place>} by user id */
  #places = new Map();

  /** @param {HTMLElement} list */
  constructor(list) {
    this.list = list;
  }

  /** Show another board: the next list is not compared with the last one. */
  clear() {
    this.#places.clear();
    this.list.replaceChildren();
  }

  /**
   * @param {Row[]} rows the podium, then the rows below it
   * @param {Board} board
   * @param {number} below how many rows have room below the podium
   */
  show(rows, board, below) {
    const elements = [...this.#places.values()].map((place) => place.element);
    const before = placesOf(elements);
    const known = this.#places;
    this.#places = new Map(rows.map((row) => [row.userId, known.get(row.userId) ?? new Place()]));
    rows.forEach((row, index) => {
      const share = shareOf(row.score, rows[0].score, rows[rows.length - 1].score);
      this.#places.get(row.userId)?.show(row, index, share, board);
    });
    const inOrder = [...this.#places.values()].map((place) => place.element);
    this.list.style.setProperty("--rows", String(Math.max(below, 1)));
    this.list.dataset.count = String(inOrder.length);
    if (inOrder.length !== elements.length || inOrder.some((each, i) => each !== elements[i])) {
      this.list.replaceChildren(...inOrder);
      moveFrom(inOrder, elements.length ? before : new Map());
    }
  }
}

/** @param {string} name the class of the element */
function part(name, hidden = false) {
  const element = document.createElement("span");
  element.className = name;
  if (hidden) {
    element.setAttribute("aria-hidden", "true");
  }
  return element;
}

/** The place of one user. */
class Place {
  element = document.createElement("li");
  #bar = part("bar", true);
  #rank = part("rank");
  #name = part("name");
  #move = part("move", true);
  #change = part("change", true);
  #score = part("score");
  #timers = { move: 0, change: 0 };
  /** @type {Row | null} */
  #row = null;

  constructor() {
    this.element.append(this.#bar, this.#rank, this.#name, this.#move, this.#change, this.#score);
  }

  /**
   * @param {Row} row
   * @param {number} index
   * @param {number} share
   * @param {Board} board
   */
  show(row, index, share, board) {
    const { element } = this;
    element.dataset.userId = row.userId;
    element.className = index < PODIUM ? "place podium" : "place";
    element.dataset.place = index < PODIUM ? String(index + 1) : "row";
    this.#bar.style.setProperty("--share", String(share));
    setFitting(this.#rank, String(row.rank), [3, 5]);
    if (this.#row?.name !== row.name) {
      setFitting(this.#name, row.name, NAME_FITS);
      this.#name.replaceChildren(nameElement(row.name));
    }
    setFitting(this.#score, scoreText(row.score, board.format), SCORE_FITS);
    if (this.#score.dataset.fit === LONGEST) {
      allowBreaks(this.#score, GROUPS);
    }
    if (this.#row) {
      this.#showChanges(this.#row, row, board);
    }
    this.#row = row;
  }

  /**
   * @param {Row} before
   * @param {Row} row
   * @param {Board} board
   */
  #showChanges(before, row, board) {
    if (row.rank !== before.rank) {
      const isUp = row.rank < before.rank;
      const text = `${isUp ? "▲" : "▼"}${Math.abs(row.rank - before.rank)}`;
      this.#highlight(this.#move, "move", text, isUp);
    }
    if (row.score !== before.score) {
      const isBetter = row.score > before.score === (board.order !== "asc");
      const text = changeText(before.score, row.score, board.format);
      this.#highlight(this.#change, "change", text, isBetter);
    }
  }

  /**
   * @param {HTMLElement} element
   * @param {"move" | "change"} what
   * @param {string} text
   * @param {boolean} isUp
   */
  #highlight(element, what, text, isUp) {
    setText(element, text);
    this.element.dataset[what] = isUp ? "up" : "down";
    clearTimeout(this.#timers[what]);
    this.#timers[what] = setTimeout(() => {
      setText(element, "");
      delete this.element.dataset[what];
    }, HIGHLIGHT_DURATION);
  }
}
