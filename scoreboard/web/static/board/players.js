/** The list of all players, in pages, with a search by name. */

import { countText } from "../design/format.js";
import { partsOf } from "./forms.js";
import { rowOf } from "./live.js";
import { ScoreTable } from "./table.js";

const TOP = 10; // with fewer rows, the board has all players
const PAGE_SIZE = 100; // the largest of the API
const MAX_FOUND = 100;
const SEARCH_DELAY = 200; // milliseconds after a key

/** The section "All players". Its list is that of the moment it was opened or refreshed. */
export class Players {
  #table = new ScoreTable("All players");
  /** @type {import("./live.js").Row[]} the rows that are loaded */
  #rows = [];
  #total = 0;
  /** @type {string | null} the cursor of the next page; null after the last one */
  #next = null;
  /** The number of the current search or refresh: an earlier one stops. */
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
    await this.#search(true);
  }

  /** @param {boolean} [isStart] whether nothing is loaded yet */
  async #search(isStart = false) {
    this.#run += 1;
    const run = this.#run;
    try {
      if (isStart) {
        await this.#load(run);
      }
      this.#show();
      // Names are not indexed by the API: the pages are read one after the other.
      while (this.#query() && this.#next && this.#found().length < MAX_FOUND && run === this.#run) {
        await this.#load(run);
        this.#show();
      }
    } catch (error) {
      if (run === this.#run) {
        this.parts.state.textContent = error.message;
      }
    }
  }

  async #more() {
    this.#shown += PAGE_SIZE;
    if (this.#rows.length < this.#shown && this.#next) {
      this.#run += 1;
      await this.#load(this.#run).catch((error) => (this.parts.state.textContent = error.message));
    }
    this.#show();
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
    return comparable(this.parts.search.value);
  }

  #found() {
    const query = this.#query();
    return this.#rows.filter(({ name }) => comparable(name).includes(query));
  }

  #show() {
    const query = this.#query();
    const { board, own } = this.context();
    const rows = query ? this.#found().slice(0, MAX_FOUND) : this.#rows.slice(0, this.#shown);
    this.#table.show(rows, board, own);
    this.#table.element.hidden = rows.length === 0;
    this.parts.more.hidden = Boolean(query) || rows.length >= this.#total;
    this.parts.state.textContent = this.#state(query, rows.length);
  }

  /**
   * @param {string} query
   * @param {number} shown
   */
  #state(query, shown) {
    if (!query) {
      return shown < this.#total
        ? `The first ${countText(shown, "player")} of ${countText(this.#total, "player")}.`
        : `${countText(this.#total, "player")}.`;
    }
    if (this.#next && shown < MAX_FOUND) {
      return `Searching: ${countText(this.#rows.length, "player")} of ${this.#total}…`;
    }
    return shown ? `${countText(shown, "player")} found.` : "No player has this in the name.";
  }
}

/** @param {string} text */
function comparable(text) {
  return text.normalize("NFKC").toLocaleLowerCase().trim();
}
