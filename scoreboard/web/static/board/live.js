/**
 * The live board without its looks: what the page and the embedded form have in common.
 *
 * @typedef {{rank: number, userId: string, name: string, score: number}} Row
 */

import { Connection } from "./connection.js";
import { Names } from "./names.js";

const MOST_EVENTS = 12;

/** The top 10 and the newest events, kept up to date. */
export class LiveBoard {
  /** @type {{user_id: string, score: number}[] | null} null until the first message */
  #top10 = null;
  /** @type {{key: number, user_id: string, new_score: number}[]} the newest first */
  #events = [];
  #count = 0;
  #announced = false;

  /**
   * @param {{
   *   base: URL,
   *   tokens: import("./connection.js").Tokens,
   *   read: (path: string) => Promise<any>,
   *   onState: (state: import("./connection.js").State) => void,
   *   onChange: () => void,
   *   namesOfEvents?: boolean,
   * }} options `onChange` is called once a frame at most
   */
  constructor({ base, tokens, read, onState, onChange, namesOfEvents = false }) {
    this.onChange = onChange;
    this.namesOfEvents = namesOfEvents;
    this.names = new Names(
      read,
      () => this.#onDisplay(),
      () => this.#announce(),
    );
    this.connection = new Connection(base, tokens, (message) => this.#take(message), onState);
  }

  /** @returns {Row[] | null} null as long as nothing is known */
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

  /** @returns {{key: number, name: string, score: number}[]} the newest first */
  events() {
    return this.#events.map((event) => ({
      key: event.key,
      name: this.names.of(event.user_id),
      score: event.new_score,
    }));
  }

  /** Disconnect for good, and ask for nothing more. */
  stop() {
    this.connection.stop();
    this.clear();
  }

  /** Forget the board: it may not be watched any longer. */
  clear() {
    this.#top10 = null;
    this.#events = [];
    this.#announce();
  }

  /** @param {{type: string, data: any}} message */
  #take({ type, data }) {
    if (type === "top_10_update") {
      this.#top10 = data.top_10_scores;
    } else if (type === "score_update") {
      this.#count += 1;
      this.#events.unshift({ key: this.#count, ...data });
      this.#events.length = Math.min(this.#events.length, MOST_EVENTS);
    }
    this.names.lookUp();
    this.#announce();
  }

  #onDisplay() {
    const events = this.namesOfEvents ? this.#events : [];
    return [...(this.#top10 ?? []), ...events].map((each) => each.user_id);
  }

  #announce() {
    if (!this.#announced) {
      this.#announced = true;
      requestAnimationFrame(() => {
        this.#announced = false;
        this.onChange();
      });
    }
  }
}
