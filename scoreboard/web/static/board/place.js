/** The player's section of the page: signing in and out, their rank, posting a score. */

import { Refused } from "./api.js";
import { rowOf } from "./live.js";
import { ScoreTable } from "./table.js";

const NEIGHBOURS = 2;
// Delays between requests, in milliseconds.
const DELAY = 2_000;
const DELAY_AFTER_FAILURE = 5_000;

/** The section "Your place". */
export class Place {
  #table = new ScoreTable("Your rank and your neighbours");
  /** @type {import("./live.js").Board | null} */
  #board = null;
  #isUpdating = false;
  #changed = false;
  /** @type {{user_id: string, score_value: number} | null} an update without a response */
  #unanswered = null;

  /**
   * @param {HTMLElement} section
   * @param {string} path the path of the board object
   * @param {import("./session.js").Session} session
   * @param {() => void} onSignIn called after signing in or out
   */
  constructor(section, path, session, onSignIn) {
    this.path = path;
    this.session = session;
    this.onSignIn = onSignIn;
    this.parts = Object.fromEntries(
      [...section.querySelectorAll("[data-part]")].map((part) => [part.dataset.part, part]),
    );
    this.parts.table.append(this.#table.element);
    onSubmit(this.parts.signIn, () => this.#signIn(), this.parts.problem);
    onSubmit(this.parts.signOut, () => this.#signOut(), this.parts.problem);
    onSubmit(this.parts.post, () => this.#post(), this.parts.problem);
    this.show();
  }

  /** Show the sign-in form, or the signed-in user. */
  show() {
    const { user } = this.session;
    this.parts.signIn.hidden = Boolean(user);
    this.parts.signedIn.hidden = !user;
    this.parts.who.textContent = user?.username ?? "";
    if (user) {
      this.update();
    } else {
      this.parts.standing.textContent = "";
      this.#table.show([], this.#board);
      this.parts.table.hidden = true;
    }
  }

  /** @param {string} message */
  showProblem(message) {
    this.parts.problem.textContent = message;
  }

  /**
   * Show this board, whose scores may have changed.
   *
   * @param {import("./live.js").Board | null} board
   * @param {string} [source] the title of the board that feeds this one
   */
  showBoard(board, source) {
    this.#board = board;
    if (this.parts.post) {
      this.parts.unit.textContent = board?.format === "time" ? "Milliseconds" : "Score";
      this.parts.source.textContent = source ? `Posted to “${source}”, which feeds this board.` : "";
    }
    this.update();
  }

  /** Request the rank again: now, but at most every two seconds. */
  async update() {
    this.#changed = true;
    if (this.#isUpdating) {
      return;
    }
    this.#isUpdating = true;
    while (this.#changed && this.session.user) {
      this.#changed = false;
      const delay = await this.#request(this.session.user);
      await new Promise((done) => setTimeout(done, delay));
    }
    this.#isUpdating = false;
  }

  /**
   * @param {import("./session.js").User} user
   * @returns {Promise<number>} the delay before the next request
   */
  async #request({ user_id }) {
    let found;
    try {
      found = await this.session.get(
        `${this.path}/leaderboard/users/${user_id}?around=${NEIGHBOURS}`,
      );
    } catch (error) {
      if (!(error instanceof Refused && error.status === 404)) {
        this.#changed = true; // request it again; the connection state shows the problem
        return DELAY_AFTER_FAILURE;
      }
    }
    if (this.session.user?.user_id !== user_id) {
      return DELAY;
    }
    const entries = found?.entries ?? [];
    this.parts.table.hidden = !found;
    this.parts.standing.textContent = found
      ? `Rank ${found.entry.rank} of ${found.total}`
      : "You are not on the board yet. Your first score adds you.";
    this.#table.show(entries.map(rowOf), this.#board, user_id);
    return DELAY;
  }

  async #signIn() {
    const { username, password } = this.parts.signIn.elements;
    await this.session.signIn(username.value, password.value);
    this.parts.signIn.reset();
    this.show();
    this.parts.heading.focus();
    this.onSignIn();
  }

  async #signOut() {
    try {
      await this.session.signOut();
    } catch (error) {
      if (!(error instanceof Refused && error.status === 401)) {
        throw new Error(`Signed out on this page, but not on the server: ${error.message}`);
      }
    } finally {
      this.show();
      if (!this.session.user) {
        this.parts.signIn.elements.username.focus();
      }
      this.onSignIn();
    }
  }

  async #post() {
    const user_id = /** @type {import("./session.js").User} */ (this.session.user).user_id;
    const board = this.#board?.source ?? this.#board?.board_id;
    const score_value = this.parts.post.elements.score.valueAsNumber;
    const previous = this.#unanswered;
    // If only the response was lost, the same update with the same nonce cannot count twice.
    const update =
      previous?.user_id === user_id && previous.score_value === score_value
        ? previous
        : { board, user_id, score_value, timestamp: new Date().toISOString(), nonce: nonce() };
    this.#unanswered = update;
    try {
      await this.session.post("api/score/update", update);
      this.#unanswered = null;
    } catch (error) {
      if (error instanceof Refused && error.status < 500) {
        this.#unanswered = null; // after a 5xx the update may have been counted
        if (error.receipt) {
          return;
        }
      }
      throw error;
    }
  }
}

/** @returns {string} without crypto.randomUUID, which plain http pages do not have */
function nonce() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Run `act` when the form is submitted, and show the message of its error.
 *
 * @param {HTMLFormElement | undefined} form
 * @param {() => Promise<void>} act
 * @param {HTMLElement} problem
 */
function onSubmit(form, act, problem) {
  form?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    problem.textContent = "";
    try {
      await act();
    } catch (error) {
      problem.textContent = error.message;
    } finally {
      button.disabled = false;
    }
  });
}
