/** The names of those on display: the live messages have nothing but their ids. */

import { Refused } from "./api.js";

const SHORT = 8;
const PAUSE = 1_000;
const PAUSE_AFTER_FAILURE = 10_000;
const MOST_REMEMBERED = 10_000;

/**
 * Remembers names, and looks up what is missing: one request at a time and a pause after each,
 * however many events there are. The first 100 of the leaderboard come in one request; who is
 * further down is asked for with the hundred around, while still on display.
 */
export class Names {
  /** @type {Map<string, string>} */
  #names = new Map();
  /** @type {Set<string>} ids that the first 100 were asked for in vain */
  #furtherDown = new Set();
  #busy = false;

  /**
   * @param {(path: string) => Promise<any>} read asks the API
   * @param {() => string[]} onDisplay the ids to name, the most important first
   * @param {() => void} onChange
   */
  constructor(read, onDisplay, onChange) {
    this.read = read;
    this.onDisplay = onDisplay;
    this.onChange = onChange;
  }

  /**
   * @param {string} userId
   * @returns {string} the name, or the beginning of the id as long as there is none
   */
  of(userId) {
    return this.#names.get(userId) ?? userId.slice(0, SHORT);
  }

  /** Find out the names of those on display. Returns at once. */
  async lookUp() {
    if (this.#busy) {
      return;
    }
    this.#busy = true;
    for (let id = this.#unknown(); id; id = this.#unknown()) {
      const pause = await this.#ask(id);
      await new Promise((done) => setTimeout(done, pause * (1 + Math.random())));
    }
    this.#busy = false;
  }

  #unknown() {
    return this.onDisplay().find((id) => !this.#names.has(id));
  }

  /**
   * @param {string} id
   * @returns {Promise<number>} how long to pause
   */
  async #ask(id) {
    const single = this.#furtherDown.has(id);
    try {
      this.#learn(
        await this.read(
          single ? `api/leaderboard/users/${id}?around=50` : "api/leaderboard?limit=100",
        ),
      );
    } catch (error) {
      if (!(error instanceof Refused && error.status === 404)) {
        return PAUSE_AFTER_FAILURE;
      }
    }
    if (single && !this.#names.has(id)) {
      this.#names.set(id, this.of(id)); // hidden since: nothing to ask for again
    }
    this.#furtherDown.add(id);
    this.onChange();
    return PAUSE;
  }

  /** @param {{entries: {user_id: string, username: string}[]}} page */
  #learn(page) {
    if (this.#names.size > MOST_REMEMBERED) {
      this.#names.clear();
      this.#furtherDown.clear();
    }
    for (const entry of page.entries) {
      this.#names.set(entry.user_id, entry.username);
    }
  }
}
