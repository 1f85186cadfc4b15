/**
 * The read-only token that anyone may have who shows the board.
 *
 * @typedef {{text: string, expiresAt: number}} Token `expiresAt` as of Date.now
 */

import { Unreachable } from "./api.js";

/** Before a token has less than this to live a new one is fetched. */
export const EXPIRES_SOON = 60_000;

/** The answer of a sign-in, or of a viewer's, as a token. */
export function tokenOf(answer) {
  return { text: answer.access_token, expiresAt: Date.now() + answer.expires_in * 1000 };
}

/** @param {Token | null} token */
export function isFresh(token) {
  return token !== null && token.expiresAt - Date.now() > EXPIRES_SOON;
}

/** The server is there, and does not want to be asked from this website. */
export class NotAllowedHere extends Error {
  constructor() {
    super("This board may not be shown on this website.");
  }
}

/** Keeps a viewer token, fetched when it is asked for and the last one will not do. */
export class Viewer {
  /** @type {Token | null} */
  #token = null;

  /** @param {import("./api.js").Api} api */
  constructor(api) {
    this.api = api;
  }

  /**
   * @returns {Promise<Token>}
   * @throws what the API throws, and NotAllowedHere
   */
  async fresh() {
    if (!isFresh(this.#token)) {
      this.#token = tokenOf(await this.#fetch());
    }
    return /** @type {Token} */ (this.#token);
  }

  /** Do not use the present token again. */
  forget() {
    this.#token = null;
  }

  async #fetch() {
    try {
      return await this.api.post("api/auth/viewer");
    } catch (error) {
      if (error instanceof Unreachable && (await this.#answersOthers())) {
        throw new NotAllowedHere();
      }
      throw error;
    }
  }

  /**
   * Whether the server answers what any website may ask. A browser does not tell a page which
   * may not read an answer from one that got none; /embed.js is for every website to read.
   */
  async #answersOthers() {
    if (this.api.base.origin === location.origin) {
      return false;
    }
    try {
      return (await fetch(new URL("embed.js", this.api.base), { method: "HEAD" })).ok;
    } catch {
      return false;
    }
  }
}
