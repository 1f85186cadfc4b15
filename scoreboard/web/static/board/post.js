/** The form that posts a score of the signed-in player. */

import { Refused } from "./api.js";
import { parseTime, scoreText } from "../design/format.js";
import { onSubmit } from "./forms.js";

/**
 * @typedef {{score_value: number, before: number | null}} Posted a score that was accepted, and the
 *   score on the board before
 */

/** The form, which is hidden if players may not submit to this board. */
export class PostForm {
  /** @type {import("./live.js").Board | null} */
  #board = null;
  #submitTo = "main";
  /** @type {{user_id: string, score_value: number} | null} an update without a response */
  #unanswered = null;

  /**
   * @param {Record<string, any>} parts of the section
   * @param {import("./session.js").Session} session
   * @param {(score_value: number, receipt: any) => void} onPosted
   */
  constructor(parts, session, onPosted) {
    this.parts = parts;
    this.session = session;
    const act = async () => {
      const score_value = this.#value();
      const receipt = await this.#post(score_value);
      parts.post.elements.score.value = "";
      onPosted(score_value, receipt);
    };
    onSubmit(parts.post, act, parts.problem);
  }

  /**
   * @param {import("./live.js").Board | null} board
   * @param {import("./live.js").Board} [source] the board that feeds this one
   * @param {string} [title] of the source
   */
  show(board, source, title) {
    this.#board = board;
    this.#submitTo = board?.source ?? board?.board_id ?? "main";
    const takes = board?.source ? source : board;
    this.parts.post.hidden = !takes || takes.submit !== "player" || Boolean(takes.tickets);
    const isTime = board?.format === "time";
    const { score } = this.parts.post.elements;
    this.parts.unit.textContent = isTime ? "Time" : "Score";
    score.type = isTime ? "text" : "number";
    score.placeholder = isTime ? "1:23.456" : "";
    this.parts.source.textContent = title ? `Posted to “${title}”, which feeds this board.` : "";
  }

  /** @returns {number} the score that was typed in */
  #value() {
    const { score } = this.parts.post.elements;
    const value = this.#board?.format === "time" ? parseTime(score.value) : score.valueAsNumber;
    if (Number.isNaN(value)) {
      const example = this.#board?.format === "time" ? "a time such as 1:23.456" : "a number";
      throw new Error(`Type in ${example}.`);
    }
    return value;
  }

  /**
   * @param {number} score_value
   * @returns {Promise<any>} the receipt
   */
  async #post(score_value) {
    const user_id = /** @type {import("./session.js").User} */ (this.session.user).user_id;
    const previous = this.#unanswered;
    // If only the response was lost, the same update with the same nonce cannot count twice.
    const update =
      previous?.user_id === user_id && previous.score_value === score_value
        ? previous
        : {
            board: this.#submitTo,
            user_id,
            score_value,
            timestamp: new Date().toISOString(),
            nonce: nonce(),
          };
    this.#unanswered = update;
    try {
      const receipt = await this.session.post("api/score/update", update);
      this.#unanswered = null;
      return receipt;
    } catch (error) {
      if (error instanceof Refused && error.status < 500) {
        this.#unanswered = null; // after a 5xx the update may have been counted
        if (error.receipt) {
          return error.receipt;
        }
      }
      throw error;
    }
  }
}

/**
 * @param {number} value the score that was posted
 * @param {{rank?: string, score: number, before: number | null}} place the player's place since:
 *   `rank` as in "3rd"
 * @param {import("./live.js").Board} board
 * @returns {string} what became of it, for example "100: you are 3rd. Your best stays 120."
 */
export function confirmation(value, { rank, score, before }, board) {
  const text = (/** @type {number} */ number) => scoreText(number, board.format);
  const isTime = board.format === "time";
  const posted = isTime || board.policy === "total" ? text(value) : `${text(value)} ${points(value)}`;
  if (!rank) {
    return `${posted}: recorded.`;
  }
  const start = board.policy === "total" ? `${text(value)} added: you are` : `${posted}: you are`;
  if (board.policy === "total") {
    return `${start} ${rank} with ${text(score)} in total.`;
  }
  if (board.policy === "best") {
    if (score !== value) {
      return `${start} ${rank}. Your best stays ${text(score)}.`;
    }
    return before === null || before === score ? `${start} ${rank}.` : `${start} ${rank}. A new best!`;
  }
  return before === null || before === score
    ? `${start} ${rank}.`
    : `${start} ${rank}. It replaces your ${text(before)}.`;
}

/** @param {number} value */
function points(value) {
  return value === 1 ? "point" : "points";
}

/** @returns {string} without crypto.randomUUID, which plain http pages do not have */
function nonce() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
