/** A player's own part of the page: signing in and out, their place, a score by button. */

import { Refused } from "./api.js";
import { ScoreTable } from "./table.js";

const AROUND = 2;
const PAUSE = 2_000;
const PAUSE_AFTER_FAILURE = 5_000;

/** The section "Your place". */
export class Place {
  #table = new ScoreTable("Your place and those around it");
  #looking = false;
  #changed = false;
  /** @type {{user_id: string, score_value: number} | null} an update that got no answer yet */
  #unanswered = null;

  /**
   * @param {HTMLElement} section
   * @param {import("./session.js").Session} session
   * @param {() => void} onSignIn called after signing in or out
   */
  constructor(section, session, onSignIn) {
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

  /** Show the form to sign in, or who is signed in. */
  show() {
    const { user } = this.session;
    this.parts.signIn.hidden = Boolean(user);
    this.parts.signedIn.hidden = !user;
    this.parts.who.textContent = user?.username ?? "";
    if (user) {
      this.look();
    } else {
      this.parts.standing.textContent = "";
      this.#table.show([]);
      this.parts.table.hidden = true;
    }
  }

  /** Show a sentence to act on. @param {string} message */
  tell(message) {
    this.parts.problem.textContent = message;
  }

  /** Ask for the place again: at once, but not more often than every two seconds. */
  async look() {
    this.#changed = true;
    if (this.#looking) {
      return;
    }
    this.#looking = true;
    while (this.#changed && this.session.user) {
      this.#changed = false;
      const pause = await this.#ask(this.session.user);
      await new Promise((done) => setTimeout(done, pause));
    }
    this.#looking = false;
  }

  /**
   * @param {import("./session.js").User} user
   * @returns {Promise<number>} how long to pause
   */
  async #ask({ user_id }) {
    let found;
    try {
      found = await this.session.get(`api/leaderboard/users/${user_id}?around=${AROUND}`);
    } catch (error) {
      if (!(error instanceof Refused && error.status === 404)) {
        this.#changed = true; // to ask again; the state of the connection tells of it
        return PAUSE_AFTER_FAILURE;
      }
    }
    if (this.session.user?.user_id !== user_id) {
      return PAUSE;
    }
    const entries = found?.entries ?? [];
    this.parts.table.hidden = !found;
    this.parts.standing.textContent = found
      ? `Rank ${found.entry.rank} of ${found.total}`
      : "You are not on the board yet: your first score puts you there.";
    this.#table.show(entries.map(rowOf), user_id);
    return PAUSE;
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
        throw new Error(`Signed out here, but the server was not told: ${error.message}`);
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
    const score_value = this.parts.post.elements.score.valueAsNumber;
    const again = this.#unanswered;
    // The same again, nonce and all, cannot count twice if only the answer was lost.
    const update =
      again?.user_id === user_id && again.score_value === score_value
        ? again
        : { user_id, score_value, timestamp: new Date().toISOString(), nonce: nonce() };
    this.#unanswered = update;
    try {
      await this.session.post("api/score/update", update);
      this.#unanswered = null;
    } catch (error) {
      if (error instanceof Refused && error.status < 500) {
        this.#unanswered = null; // but what a server or proxy failed at may have been counted
        if (error.receipt) {
          return;
        }
      }
      throw error;
    }
  }
}

/** @returns {string} not by crypto.randomUUID, which a plain http address does not have */
function nonce() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {any} entry of the leaderboard */
function rowOf({ rank, user_id: userId, username: name, score }) {
  return { rank, userId, name, score };
}

/**
 * Do something when a form is sent, and tell what went wrong in the server's own sentence.
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
