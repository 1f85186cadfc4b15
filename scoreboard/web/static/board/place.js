/** The player's section of the page: their rank, posting a score, keeping the place. */

import { Refused } from "./api.js";
import { countText, ordinal, scoreText } from "../design/format.js";
import { onSubmit, partsOf } from "./forms.js";
import { rowOf } from "./live.js";
import { confirmation, PostForm } from "./post.js";
import { ScoreTable } from "./table.js";

const NEIGHBOURS = 2;
// Delays between requests, in milliseconds.
const DELAY = 2_000;
const DELAY_AFTER_FAILURE = 5_000;

/** The section "Your place", which visitors do not see. */
export class Place {
  #table = new ScoreTable("Your rank and your neighbours");
  /** @type {import("./live.js").Board | null} */
  #board = null;
  #isUpdating = false;
  #changed = false;
  #isLeaving = false;
  /** @type {{rank: number, score: number} | null} the entry of the last response */
  #entry = null;
  /** @type {{value: number, before: number | null} | null} a score to confirm */
  #posted = null;

  /**
   * @param {HTMLElement} section
   * @param {string} path the path of the board object
   * @param {import("./session.js").Session} session
   * @param {{onSignOut: (problem: string) => void, onTotal: (players: number) => void}} options
   */
  constructor(section, path, session, { onSignOut, onTotal }) {
    this.section = section;
    this.path = path;
    this.session = session;
    this.onSignOut = onSignOut;
    this.onTotal = onTotal;
    this.parts = partsOf(section);
    this.parts.table.append(this.#table.element);
    this.form = new PostForm(this.parts, session, (value) => this.#confirm(value));
    onSubmit(this.parts.signOut, () => this.#signOut(), this.parts.problem);
    onSubmit(this.parts.claimForm, () => this.#claim(), this.parts.problem);
    this.show();
  }

  /** Show the signed-in user, or nothing. */
  show() {
    const { user } = this.session;
    this.section.hidden = !this.session.isSignedIn;
    this.section.classList.toggle("loading", !user); // after a reload, until the user is loaded
    this.parts.who.textContent = user?.username ?? "";
    this.parts.claim.hidden = !user || user.email !== null;
    this.#isLeaving = false;
    this.parts.lastChance.hidden = true;
    if (user) {
      this.update();
    } else {
      this.#entry = this.#posted = null;
      this.parts.done.textContent = this.parts.problem.textContent = "";
      this.parts.rank.textContent = this.parts.detail.textContent = "";
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
   * @param {import("./live.js").Board} [source] the board that feeds this one
   * @param {string} [title] of the source
   */
  showBoard(board, source, title) {
    this.#board = board;
    this.form.show(board, source, title);
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
    const posted = this.#posted;
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
    this.#show(found, user_id);
    if (posted && this.#board) {
      const { value, before } = posted;
      const { rank, score } = this.#entry ?? {};
      const place = { rank: rank && ordinal(rank), score: score ?? value, before };
      this.parts.done.textContent = confirmation(value, place, this.#board);
      this.#posted = this.#posted === posted ? null : this.#posted;
    }
    return DELAY;
  }

  /**
   * @param {any} found the response with the user's entry, undefined if there is none
   * @param {string} user_id
   */
  #show(found, user_id) {
    const { rank, detail, table } = this.parts;
    this.#entry = found?.entry ?? null;
    table.hidden = !found || found.total < 2;
    rank.textContent = found ? ordinal(found.entry.rank) : "";
    detail.textContent = found
      ? this.#detail(found)
      : "You are not on the board yet. Your first score adds you.";
    if (found) {
      this.onTotal(found.total);
    }
    this.#table.show((found?.entries ?? []).map(rowOf), this.#board, user_id);
  }

  /** @param {any} found */
  #detail({ entry, entries, total }) {
    const of = `of ${countText(total, "player")}`;
    const ahead = entries.filter((/** @type {any} */ each) => each.rank < entry.rank).pop();
    if (!ahead || this.#board?.state === "frozen") {
      return of;
    }
    const gap = scoreText(Math.abs(ahead.score - entry.score), this.#board?.format);
    return `${of}, ${gap} behind ${ahead.username}`;
  }

  /** @param {number} value */
  #confirm(value) {
    this.#posted = { value, before: this.#entry?.score ?? null };
    this.parts.done.textContent = "Recorded.";
    this.parts.post.elements.score.focus();
    this.update();
  }

  async #claim() {
    const { email, password } = this.parts.claimForm.elements;
    await this.session.claim({ email: email.value, password: password.value });
    this.parts.claimForm.reset();
    this.show();
    this.parts.done.textContent = "Your place is kept: sign in anywhere with your name and password.";
    this.parts.heading.focus();
  }

  async #signOut() {
    if (this.session.user?.email === null && !this.#isLeaving) {
      this.#isLeaving = true;
      this.parts.lastChance.hidden = false;
      return;
    }
    let problem = "";
    try {
      await this.session.signOut();
    } catch (error) {
      if (!(error instanceof Refused && error.status === 401)) {
        problem = `Signed out on this page, but not on the server: ${error.message}`;
      }
    }
    this.show();
    this.onSignOut(problem);
  }
}
