/** The state of the connection, in plain words. */

/** @type {Record<string, string>} */
const WORDS = {
  connecting: "Connecting…",
  live: "Live",
  reconnecting: "Reconnecting…",
  offline: "Offline",
  refused: "Not connected",
};

/**
 * @param {import("./connection.js").State} state
 * @returns {string} what to show instead of a board that is not there
 */
export function insteadOfBoard(state) {
  return state.kind === "offline" || state.kind === "refused"
    ? (state.reason ?? "The board cannot be reached at the moment.")
    : "Loading the board…";
}

/** A line that tells the state, and counts down to the next attempt. */
export class StatusLine {
  #words = document.createElement("span");
  #countdown = document.createElement("span");
  #clock = 0;

  /** @param {HTMLElement} element gets the words; its role is status */
  constructor(element) {
    this.element = element;
    // Read out every second it would drown everything else.
    this.#countdown.setAttribute("aria-hidden", "true");
    element.replaceChildren(this.#words, this.#countdown);
  }

  /** @param {import("./connection.js").State} state */
  show(state) {
    clearInterval(this.#clock);
    this.element.dataset.state = state.kind;
    if (this.#words.textContent !== WORDS[state.kind]) {
      this.#words.textContent = WORDS[state.kind];
    }
    this.#countdown.textContent = "";
    if (state.until) {
      const until = state.until;
      this.#tell(until);
      this.#clock = setInterval(() => this.#tell(until), 1000);
    }
  }

  /** @param {number} until */
  #tell(until) {
    const seconds = Math.ceil((until - Date.now()) / 1000);
    this.#countdown.textContent = seconds > 0 ? `: trying again in ${seconds} s` : ": trying again";
  }
}
