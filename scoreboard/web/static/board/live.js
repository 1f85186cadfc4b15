/**
 * The data of one live board, shared by the page and the embedded element.
 *
 * @typedef {import("./describe.js").Board} Board
 * @typedef {{rank: number, userId: string, name: string, score: number}} Row
 * @typedef {{key: string, userId: string, name: string, score: number, at: number}} Event a new
 *   score; `at` is a time like Date.now
 */

import { Connection } from "./connection.js";

const MAX_EVENTS = 12;
const RETRY_DELAY = 5_000; // milliseconds

/** The board object, its top 10 and the newest events, kept up to date. */
export class LiveBoard {
  /** @type {Board | null} null until it is read */
  board = null;
  /** @type {Row[] | null} null until the first message */
  #top10 = null;
  /** @type {Event[]} newest first */
  #events = [];
  #season = 0;
  #reads = 0;
  #isScheduled = false;
  #playersTimer = 0;

  /**
   * @param {{
   *   base: URL,
   *   id: string,
   *   tokens: import("./connection.js").Tokens,
   *   read: () => Promise<Board | undefined>,
   *   onState: (state: import("./connection.js").State) => void,
   *   onChange: () => void,
   *   onMessage?: (message: {type: string, season: number, data: any}) => void,
   *   playersIntervals?: [number, number],
   * }} options `read` requests the board object; `onChange` is called at most once per animation
   *   frame, `onMessage` after every message. While scores arrive, the number of players is read
   *   after about `playersIntervals` milliseconds: the first, twice as long each time that it has
   *   not changed, the second at most. It is never read without them
   */
  constructor({ base, id, tokens, read, onState, onChange, onMessage, playersIntervals }) {
    this.read = read;
    this.playersIntervals = playersIntervals;
    this.playersInterval = playersIntervals?.[0] ?? 0;
    this.onChange = onChange;
    const receive = (message) => {
      this.#receive(message);
      onMessage?.(message);
    };
    this.connection = new Connection(base, id, tokens, receive, (state) => {
      if (state.kind === "live") {
        this.load(); // changes before this connection are not in its messages
      }
      onState(state);
    });
  }

  /** @returns {Row[] | null} null before the first message, and before the board is read */
  rows() {
    return this.board && this.#top10;
  }

  /** @returns {Event[]} newest first */
  events() {
    return this.board ? this.#events : [];
  }

  /** @param {(events: Event[]) => Event[]} change returns the events to keep */
  changeEvents(change) {
    this.#events = change(this.#events).slice(0, MAX_EVENTS);
    this.#scheduleChange();
  }

  /** Disconnect for good, and send no more requests. */
  stop() {
    this.connection.stop();
    this.clear();
  }

  /** Remove all data: this viewer may no longer see the board. */
  clear() {
    clearTimeout(this.#playersTimer);
    this.#playersTimer = 0;
    this.#reads += 1;
    this.board = null;
    this.#top10 = null;
    this.#events = [];
    this.#scheduleChange();
  }

  /** Request the board object, again after a failure. A newer message or request replaces it. */
  async load() {
    this.#reads += 1;
    const read = this.#reads;
    while (read === this.#reads) {
      const board = await this.read().catch(() => undefined);
      if (read !== this.#reads) {
        return;
      }
      if (board) {
        this.board = board;
        this.#scheduleChange();
        return;
      }
      await new Promise((done) => setTimeout(done, RETRY_DELAY * (1 + Math.random())));
    }
  }

  /** @param {{type: string, season: number, data: any}} message */
  #receive({ type, season, data }) {
    if (season > this.#season) {
      if (this.#season) {
        this.#events = [];
      }
      this.#season = season;
    }
    if (type === "top_10_update") {
      this.#top10 = data.top_10_scores.map(rowOf);
    } else if (type === "score_update") {
      const { user_id: userId, username: name, new_score: score } = data;
      const event = { key: newKey(), userId, name, score, at: Date.now() };
      this.#events = [event, ...this.#events].slice(0, MAX_EVENTS);
      this.#readPlayersLater();
    } else if (type === "board_update") {
      this.#update(data);
    }
    this.#scheduleChange();
  }

  /** Messages do not count the players: request their number soon, unless that is planned. */
  #readPlayersLater() {
    if (this.playersInterval && !this.#playersTimer) {
      // Not all viewers at the same moment.
      const delay = this.playersInterval * (0.5 + Math.random());
      this.#playersTimer = setTimeout(() => {
        this.#playersTimer = 0;
        this.#readPlayers();
      }, delay);
    }
  }

  async #readPlayers() {
    const { board } = this;
    const found = await this.read().catch(() => undefined);
    if (board && board === this.board && found) {
      const [shortest, longest] = this.playersIntervals;
      const hasChanged = board.players !== found.players;
      this.playersInterval = hasChanged ? shortest : Math.min(2 * this.playersInterval, longest);
      this.setPlayers(found.players);
    }
  }

  /** @param {number} players the number of players in a newer response */
  setPlayers(players) {
    if (this.board && this.board.players !== players) {
      this.board.players = players;
      this.#scheduleChange();
    }
  }

  /** @param {Board} board */
  #update(board) {
    const wasPublic = this.board?.public ?? true;
    this.#reads += 1; // a response that arrives later may be older
    this.board = board;
    if (board.state === "archived" || (wasPublic && !board.public)) {
      this.connection.restart(); // the token may not watch it any more
    }
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

let keys = 0;

/** @returns {string} unlike those of earlier pages, whose events may be stored */
function newKey() {
  keys += 1;
  return `${performance.timeOrigin}-${keys}`;
}

/**
 * @param {any} entry an entry of the API
 * @returns {Row}
 */
export function rowOf({ rank, user_id: userId, username: name, score }) {
  return { rank, userId, name, score };
}
