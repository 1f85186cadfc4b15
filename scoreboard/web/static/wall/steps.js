/**
 * The lists still to be shown, each long enough to be seen.
 *
 * @typedef {import("../board/live.js").Row} Row
 */

const MAX_STEPS = 40;
// Times are in milliseconds.
const STEP_TIME = 900; // a movement ends before the next one starts
const REVEAL_TIME = 2_500;

/**
 * Keeps the order of the lists. Of the lists of a busy board only the newest waits; of a reveal
 * every one is shown.
 */
export class Steps {
  /** @type {{rows: Row[], isReveal: boolean}[]} */
  #waiting = [];
  /** @type {Row[] | null} the list to show now; null before the first one */
  rows = null;
  #timer = 0;

  /** @param {() => void} onStep called with the next list in `rows` */
  constructor(onStep) {
    this.onStep = onStep;
  }

  /** Whether a reveal has not ended. */
  get isRevealing() {
    return this.#waiting.some((step) => step.isReveal);
  }

  /**
   * @param {Row[]} rows
   * @param {boolean} isReveal
   */
  add(rows, isReveal) {
    const last = this.#waiting.length ? this.#waiting[this.#waiting.length - 1].rows : this.rows;
    if (last && isSame(last, rows)) {
      return; // the list that a new connection sends
    }
    const kept = this.#waiting.filter((step) => step.isReveal);
    this.#waiting = [...kept, { rows, isReveal }].slice(-MAX_STEPS);
    if (!this.#timer) {
      this.#next();
    }
  }

  /** Forget all lists. */
  clear() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#waiting = [];
    this.rows = null;
  }

  #next() {
    const step = this.#waiting.shift();
    if (step) {
      this.rows = step.rows;
      this.#timer = setTimeout(() => {
        this.#timer = 0;
        this.#next();
      }, step.isReveal ? REVEAL_TIME : STEP_TIME);
      this.onStep();
    }
  }
}

/**
 * @param {Row[]} one
 * @param {Row[]} other
 */
function isSame(one, other) {
  return JSON.stringify(one) === JSON.stringify(other);
}
