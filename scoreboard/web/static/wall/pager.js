/**
 * Shows the whole list of a board in turn: the top 10, then the places below, page by page.
 *
 * @typedef {import("../board/live.js").Row} Row
 */

import { rowOf } from "../board/live.js";

const TOP = 10;
const PAGE_SIZE = 7; // the places 4 to 10 have as many
// Times are in milliseconds.
const TOP_TIME = 15_000;
const PAGE_TIME = 8_000;

/** The pages of one board. */
export class Pager {
  /** @type {Row[] | null} the page to show below the podium; null for the top 10 */
  rows = null;
  /** @type {string | null} */
  #next = null;
  #timer = 0;
  #isRunning = false;
  #run = 0;

  /**
   * @param {(query: string) => Promise<any>} read requests a page of the leaderboard
   * @param {() => boolean} mayTurn whether there may be more than the top 10, and time for it
   * @param {() => void} onTurn
   */
  constructor(read, mayTurn, onTurn) {
    this.read = read;
    this.mayTurn = mayTurn;
    this.onTurn = onTurn;
  }

  /** Turn the pages, from the top 10 on, then from where it was stopped. */
  start() {
    if (!this.#isRunning) {
      this.#isRunning = true;
      this.#wait();
    }
  }

  /** Show the top 10, and turn no more pages. */
  stop() {
    this.#isRunning = false;
    this.#run += 1;
    clearTimeout(this.#timer);
    this.rows = null;
  }

  /** Show the top 10 now, and after its time the places below it. */
  reset() {
    const isRunning = this.#isRunning;
    this.#next = null;
    this.stop();
    if (isRunning) {
      this.start();
    }
  }

  #wait() {
    clearTimeout(this.#timer);
    const run = this.#run;
    this.#timer = setTimeout(() => this.#turn(run), this.rows ? PAGE_TIME : TOP_TIME);
  }

  /** @param {number} run */
  async #turn(run) {
    const rows = this.mayTurn() ? await this.#page().catch(() => this.#afterFailure()) : null;
    if (run === this.#run) {
      this.rows = rows;
      this.onTurn();
      this.#wait();
    }
  }

  /** @returns {Promise<Row[] | null>} the next page, null after the last one */
  async #page() {
    const wasOnPage = this.rows !== null;
    if (!this.#next && !wasOnPage) {
      const top = await this.read(`?limit=${TOP}`);
      this.#next = top.next;
    }
    if (!this.#next) {
      return null;
    }
    const page = await this.read(`?limit=${PAGE_SIZE}&cursor=${encodeURIComponent(this.#next)}`);
    this.#next = page.next;
    return page.entries.length ? page.entries.map(rowOf) : null;
  }

  #afterFailure() {
    this.#next = null; // a cursor may be of a season before
    return null;
  }
}
