/**
 * The data of the live board, shared by the page and the embedded element.
 *
 * @typedef {{rank: number, userId: string, name: string, score: number}} Row
 */

import { Connection } from "./connection.js";
import { Names } from "./names.js";

const MAX_EVENTS = 12;

/** The top 10 and the newest events, kept up to date. */
export class LiveBoard {
  /** @type {{user_id: string, score: number}[] | null} null until the first message */
  #top10 = null;
  /** @type {{key: number, user_id: string, new_score: number}[]} newest first */
  #events = [];
  #count = 0;
  #isScheduled = false;

  /**
   * @param {{
   *   base: URL,
   *   tokens: import("./connection.js").Tokens,
   *   read: (path: string) => Promise<any>,
   *   onState: (state: import("./connection.js").State) => void,
   *   onChange: () => void,
   *   namesOfEvents?: boolean,
   * }} options `onChange` is called at most once per animation frame
   */
  constructor({ base, tokens, read, onState, onChange, namesOfEvents = false }) {
    this.onChange = onChange;
    this.namesOfEvents = namesOfEvents;
    this.names = new Names(
      read,
      () => this.#displayedIds(),
      () => this.#scheduleChange(),
    );
    this.connection = new Connection(base, tokens, (message) => this.#receive(message), onState);
  }

  /** @returns {Row[] | null} null before the first message */
  rows() {
    const top10 = this.#top10;
    return top10 &&
      top10.map(({ user_id: userId, score }) => ({
        rank: 1 + top10.findIndex((other) => other.score === score),
        userId,
        name: this.names.of(userId),
        score,
      }));
  }

  /** @returns {{key: number, name: string, score: number}[]} newest first */
  events() {
    return this.#events.map((event) => ({
      key: event.key,
      name: this.names.of(event.user_id),
      score: event.new_score,
    }));
  }

  /** Disconnect for good, and send no more requests. */
  stop() {
    this.connection.stop();
    this.clear();
  }

  /** Remove all data: this viewer may no longer see the board. */
  clear() {
    this.#top10 = null;
    this.#events = [];
    this.#scheduleChange();
  }

  /** @param {{type: string, data: any}} message */
  #receive({ type, data }) {
    if (type === "top_10_update") {
      this.#top10 = data.top_10_scores;
    } else if (type === "score_update") {
      this.#count += 1;
      this.#events.unshift({ key: this.#count, ...data });
      this.#events.length = Math.min(this.#events.length, MAX_EVENTS);
    }
    this.names.load();
    this.#scheduleChange();
  }

  #displayedIds() {
    const events = this.namesOfEvents ? this.#events : [];
    return [...(this.#top10 ?? []), ...events].map((each) => each.user_id);
  }

  #scheduleChange() {
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      requestAnimationFrame(() => {
        this.#isScheduled = false;
        this.onChange();
      });
    }
  }
}
