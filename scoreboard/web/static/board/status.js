/** The text for the state of the connection. */

/** @type {Record<string, string>} */
const TEXTS = {
  connecting: "Connecting…",
  live: "Live",
  reconnecting: "Reconnecting…",
  offline: "Offline",
  refused: "Not connected",
};

/**
 * @param {import("./connection.js").State} state
 * @returns {string} the text to show while there is no board
 */
export function insteadOfBoard(state) {
  return state.kind === "offline" || state.kind === "refused"
    ? (state.reason ?? "The board cannot be reached.")
    : "Loading the board…";
}

/** A line with the state and a countdown to the next attempt. */
export class StatusLine {
  #text = document.createElement("span");
  #countdown = document.createElement("span");
  #timer = 0;

  /** @param {HTMLElement} element the line, with the role status */
  constructor(element) {
    this.element = element;
    // A screen reader must not read it every second.
    this.#countdown.setAttribute("aria-hidden", "true");
    element.replaceChildren(this.#text, this.#countdown);
  }

  /** @param {import("./connection.js").State} state */
  show(state) {
    clearInterval(this.#timer);
    this.element.dataset.state = state.kind;
    if (this.#text.textContent !== TEXTS[state.kind]) {
      this.#text.textContent = TEXTS[state.kind];
    }
    this.#countdown.textContent = "";
    if (state.until) {
      const until = state.until;
      this.#count(until);
      this.#timer = setInterval(() => this.#count(until), 1000);
    }
  }

  /** @param {number} until */
  #count(until) {
    const seconds = Math.ceil((until - Date.now()) / 1000);
    this.#countdown.textContent = seconds > 0 ? `: trying again in ${seconds} s` : ": trying again";
  }
}
