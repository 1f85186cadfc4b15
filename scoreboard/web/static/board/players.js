/** The list of all players, in pages, with a search by name. */

import { countText } from "../design/format.js";
import { partsOf } from "./forms.js";
import { rowOf } from "./live.js";
import { ScoreTable } from "./table.js";

const TOP = 10; // with fewer rows, the board has all players
const PAGE_SIZE = 100; // the largest of the API
const MAX_FOUND = 20; // the API returns no more
const SEARCH_DELAY = 200; // milliseconds after a key

/** The section "All players". Its list is that of the moment it was opened or refreshed. */
export class Players {
  #table = new ScoreTable("All players");
  /** @type {import("./live.js").Row[]} the rows that are loaded */
  #rows = [];
  /** @type {import("./live.js").Row[] | null} the rows of a search; null without one */
  #found = null;
  #total = 0;
  /** @type {string | null} the cursor of the next page; null after the last one */
  #next = null;
  /** The number of the current request: the response to an earlier one is ignored. */
  #run = 0;
  #timer = 0;
  #shown = PAGE_SIZE;

  /**
   * @param {HTMLElement} section
   * @param {HTMLElement} button opens and closes it
   * @param {(query: string) => Promise<any>} read requests a page of the leaderboard
   * @param {() => {board: import("./live.js").Board | null, own?: string}} context
   */
  constructor(section, button, read, context) {
    this.section = section;
    this.button = button;
    this.read = read;
    this.context = context;
    this.parts = partsOf(section);
    const { parts } = this;
    parts.table.append(this.#table.element);
    button.addEventListener("click", () => this.#toggle());
    parts.refresh.addEventListener("click", () => this.#refresh());
    parts.more.addEventListener("click", () => this.#more());
    parts.search.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#search(), SEARCH_DELAY);
    });
  }

  /**
   * @param {number} count of players on the board
   * @param {number} listed number of rows of the board
   */
  offer(count, listed) {
    this.button.hidden = listed < TOP && this.section.hidden;
    const all = count > listed ? `all ${countText(count, "player")}` : "all players";
    const text = this.section.hidden ? `Show ${all}` : `Hide ${all}`;
    if (this.button.textContent !== text) {
      this.button.textContent = text;
    }
  }

  /** Close the list, for example because the board must not be shown any more. */
  close() {
    this.section.hidden = true;
    this.button.hidden = true;
    this.#run += 1;
    this.#rows = [];
    this.#found = null;
    this.#table.show([], null);
  }

  #toggle() {
    this.section.hidden = !this.section.hidden;
    this.button.setAttribute("aria-expanded", String(!this.section.hidden));
    this.offer(this.context().board?.players ?? this.#total, TOP);
    if (!this.section.hidden) {
      this.parts.heading.focus();
      this.#refresh();
    }
  }

  async #refresh() {
    this.#rows = [];
    this.#next = null;
    this.#shown = PAGE_SIZE;
    await this.#start((run) => this.#load(run));
    await this.#search();
  }

  /** Show the players with the text in their name, or without a text the list again. */
  async #search() {
    const query = this.#query();
    await this.#start(async (run) => {
      const page = query && (await this.read(`query=${encodeURIComponent(query)}`));
      if (run === this.#run) {
        this.#found = page ? page.entries.map(rowOf) : null;
      }
    });
  }

  async #more() {
    this.#shown += PAGE_SIZE;
    await this.#start(async (run) => {
      if (this.#rows.length < this.#shown && this.#next) {
        await this.#load(run);
      }
    });
  }

  /**
   * Run an act and show its result or error, unless another one has started in the meantime.
   *
   * @param {(run: number) => Promise<void>} act
   */
  async #start(act) {
    this.#run += 1;
    const run = this.#run;
    try {
      await act(run);
      if (run === this.#run) {
        this.#show();
      }
    } catch (error) {
      if (run === this.#run) {
        this.parts.state.textContent = error.message;
      }
    }
  }

  /** @param {number} run */
  async #load(run) {
    const cursor = this.#next ? `&cursor=${encodeURIComponent(this.#next)}` : "";
    const page = await this.read(`limit=${PAGE_SIZE}${cursor}`);
    if (run === this.#run) {
      this.#rows.push(...page.entries.map(rowOf));
      this.#total = page.total;
      this.#next = page.next;
    }
  }

  #query() {
    return this.parts.search.value.trim();
  }

  #show() {
    const { board, own } = this.context();
    const rows = this.#found ?? this.#rows.slice(0, this.#shown);
    this.#table.show(rows, board, own);
    this.#table.element.hidden = rows.length === 0;
    this.parts.more.hidden = Boolean(this.#found) || rows.length >= this.#total;
    this.parts.state.textContent = this.#found
      ? foundText(rows.length)
      : this.#listText(rows.length);
  }

  /** @param {number} shown */
  #listText(shown) {
    const total = countText(this.#total, "player");
    return shown < this.#total ? `The first ${countText(shown, "player")} of ${total}.` : `${total}.`;
  }
}

/** @param {number} count */
function foundText(count) {
  if (count === 0) {
    return "No player has this in the name.";
  }
  return count < MAX_FOUND
    ? `${countText(count, "player")} found.`
    : `The first ${count} players found: type more of the name.`;
}
