/** The list of the latest scores. It survives a reload of the tab. */

import { agoText, scoreText } from "../design/format.js";
import { nameElement } from "./table.js";

// Milliseconds.
const CLOCK_INTERVAL = 10_000;
const CHECK_DELAY = 100;

/** The section "Latest scores". */
export class Latest {
  /** @type {import("./describe.js").Board | null} as of the previous check */
  #board = null;
  /** @type {Set<string>} the ids of the users of the last top 10 */
  #top10 = new Set();
  #season = 0;
  #timer = 0;

  /**
   * @param {HTMLElement} list
   * @param {HTMLElement} empty shown instead of an empty list
   * @param {import("./live.js").LiveBoard} live
   * @param {string} id of the board
   * @param {(users: string[]) => Promise<any>} read requests the entries of these users
   */
  constructor(list, empty, live, id, read) {
    this.list = list;
    this.empty = empty;
    this.live = live;
    this.read = read;
    this.key = `scoreboard.latest.${id}`;
    setInterval(() => this.#showTimes(), CLOCK_INTERVAL);
  }

  /** Show the events of the board. */
  show() {
    const { board } = this.live;
    if (board && !this.#season) {
      this.#restore(board.season.number);
    }
    this.#season = board?.season.number ?? this.#season;
    this.#checkAfterChange();
    const shown = new Map([...this.list.children].map((item) => [item.dataset.key, item]));
    const events = this.live.events();
    const items = events.map((event) => {
      const item = shown.get(event.key) ?? itemOf(event);
      const text = scoreText(event.score, board?.format);
      const score = item.querySelector(".score");
      if (score.textContent !== text) {
        score.textContent = text;
      }
      return item;
    });
    if (items.length !== this.list.children.length || items[0] !== this.list.firstElementChild) {
      this.list.replaceChildren(...items);
      this.#showTimes();
    }
    this.empty.hidden = items.length > 0;
    if (board) {
      this.#store(events);
    }
  }

  #showTimes() {
    const now = Date.now();
    for (const item of this.list.children) {
      item.querySelector("time").textContent = agoText(Number(item.dataset.at), now);
    }
  }

  /** @param {import("./live.js").Event[]} events */
  #store(events) {
    try {
      sessionStorage.setItem(this.key, JSON.stringify({ season: this.#season, events }));
    } catch {
      // Blocked or full: the list ends with the page.
    }
  }

  /** @param {number} season */
  #restore(season) {
    let stored;
    try {
      stored = JSON.parse(sessionStorage.getItem(this.key) ?? "null");
    } catch {
      return;
    }
    if (stored?.season === season && stored.events.length) {
      // Shown only after the check: a user may have been hidden since.
      this.#check(stored.events);
    }
  }

  /** A user may be hidden after a new board object, or when they have left the top 10. */
  #checkAfterChange() {
    const rows = this.live.rows();
    if (!rows) {
      return;
    }
    const top10 = new Set(rows.map((row) => row.userId));
    const gone = [...this.#top10].filter((userId) => !top10.has(userId));
    this.#top10 = top10;
    const isNew = this.#board !== null && this.#board !== this.live.board;
    this.#board = this.live.board;
    if (this.live.events().some(({ userId }) => isNew || gone.includes(userId))) {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#check([]), CHECK_DELAY);
    }
  }

  /**
   * Remove the events of users who are not on the board.
   *
   * @param {import("./live.js").Event[]} older events to add if their users are
   */
  async #check(older) {
    const all = [...this.live.events(), ...older];
    const users = [...new Set(all.map(({ userId }) => userId))];
    const found = await this.read(users).catch(() => null);
    const visible = new Set(found?.entries.map((/** @type {any} */ entry) => entry.user_id));
    const asked = new Set(users);
    this.live.changeEvents((events) =>
      [...events, ...older].filter(({ userId }) => visible.has(userId) || !asked.has(userId)),
    );
  }
}

/** @param {import("./live.js").Event} event */
function itemOf({ key, name, at }) {
  const item = document.createElement("li");
  item.dataset.key = key;
  item.dataset.at = String(at);
  const score = document.createElement("span");
  score.className = "score numbers";
  const time = document.createElement("time");
  time.className = "numbers";
  time.dateTime = new Date(at).toISOString();
  item.append(nameElement(name), score, time);
  return item;
}
