/** The names of the displayed users: live messages contain only their ids. */

import { Refused } from "./api.js";

const SHORT_ID_LENGTH = 8;
// Delays between requests, in milliseconds.
const DELAY = 1_000;
const DELAY_AFTER_FAILURE = 10_000;
const MAX_NAMES = 10_000;

/**
 * Caches names and requests missing ones: one request at a time with a delay after each, however
 * many events there are. One request loads the first 100 of the leaderboard. A user of a lower rank
 * is requested with the 100 neighbours, if still displayed.
 */
export class Names {
  /** @type {Map<string, string>} */
  #names = new Map();
  /** @type {Set<string>} ids that are not among the first 100 */
  #lowerRanks = new Set();
  #isLoading = false;

  /**
   * @param {(path: string) => Promise<any>} read requests a path of the API
   * @param {() => string[]} displayedIds returns the ids to name, most important first
   * @param {() => void} onChange
   */
  constructor(read, displayedIds, onChange) {
    this.read = read;
    this.displayedIds = displayedIds;
    this.onChange = onChange;
  }

  /**
   * @param {string} userId
   * @returns {string} the name, or the beginning of the id while the name is unknown
   */
  of(userId) {
    return this.#names.get(userId) ?? userId.slice(0, SHORT_ID_LENGTH);
  }

  /** Request the missing names. Does nothing while requests are running. */
  async load() {
    if (this.#isLoading) {
      return;
    }
    this.#isLoading = true;
    for (let id = this.#unknown(); id; id = this.#unknown()) {
      const delay = await this.#request(id);
      await new Promise((done) => setTimeout(done, delay * (1 + Math.random())));
    }
    this.#isLoading = false;
  }

  #unknown() {
    return this.displayedIds().find((id) => !this.#names.has(id));
  }

  /**
   * @param {string} id
   * @returns {Promise<number>} the delay before the next request
   */
  async #request(id) {
    const single = this.#lowerRanks.has(id);
    try {
      this.#cache(
        await this.read(
          single ? `api/leaderboard/users/${id}?around=50` : "api/leaderboard?limit=100",
        ),
      );
    } catch (error) {
      if (!(error instanceof Refused && error.status === 404)) {
        return DELAY_AFTER_FAILURE;
      }
    }
    if (single && !this.#names.has(id)) {
      this.#names.set(id, this.of(id)); // hidden in the meantime: do not request it again
    }
    this.#lowerRanks.add(id);
    this.onChange();
    return DELAY;
  }

  /** @param {{entries: {user_id: string, username: string}[]}} page */
  #cache(page) {
    if (this.#names.size > MAX_NAMES) {
      this.#names.clear();
      this.#lowerRanks.clear();
    }
    for (const entry of page.entries) {
      this.#names.set(entry.user_id, entry.username);
    }
  }
}
