/** The countdown to the end of the season, or the state of the board, in large type. */

import { stateOf } from "../board/describe.js";
import { setText } from "./texts.js";

const LAST_SECONDS = 60;

/** The clock at the top. */
export class Clock {
  #timer = 0;

  /** @param {HTMLElement} element no live region: screen readers would read every second */
  constructor(element) {
    this.element = element;
    this.label = /** @type {HTMLElement} */ (element.querySelector(".label"));
    this.time = /** @type {HTMLElement} */ (element.querySelector(".time"));
  }

  /** @param {import("../board/live.js").Board | null} board */
  show(board) {
    clearTimeout(this.#timer);
    const now = Date.now();
    const { text, until, label, time } = board ? stateOf(board, now) : { text: "" };
    this.element.hidden = !text;
    this.element.dataset.state = board?.state ?? "";
    this.element.classList.toggle("last", Boolean(until && until - now <= LAST_SECONDS * 1000));
    setText(this.label, label ?? "");
    setText(this.time, time ?? text);
    if (until) {
      this.#timer = setTimeout(() => this.show(board), (until - now) % 1000 || 1000);
    }
  }
}
