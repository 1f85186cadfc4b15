/**
 * The read-only token with which anyone may watch the board.
 *
 * @typedef {{text: string, expiresAt: number}} Token `expiresAt` is a time like Date.now
 */

import { Unreachable } from "./api.js";

/** A token that expires within this time, in milliseconds, is replaced. */
export const EXPIRES_SOON = 60_000;

/** Return the token of a response to a sign-in or to a request for a viewer token. */
export function tokenOf(body) {
  return { text: body.access_token, expiresAt: Date.now() + body.expires_in * 1000 };
}

/** @param {Token | null} token */
export function isFresh(token) {
  return token !== null && token.expiresAt - Date.now() > EXPIRES_SOON;
}

/** The server is running, but does not allow requests from this website. */
export class NotAllowedHere extends Error {
  constructor() {
    super("This board may not be shown on this website.");
  }
}

/** Holds a viewer token, and requests a new one when the current one expires. */
export class Viewer {
  /** @type {Token | null} */
  #token = null;

  /** @param {import("./api.js").Api} api */
  constructor(api) {
    this.api = api;
  }

  /**
   * @returns {Promise<Token>}
   * @throws the errors of the API, and NotAllowedHere
   */
  async fresh() {
    if (!isFresh(this.#token)) {
      this.#token = tokenOf(await this.#fetch());
    }
    return /** @type {Token} */ (this.#token);
  }

  /** Do not use the current token again. */
  discard() {
    this.#token = null;
  }

  async #fetch() {
    try {
      return await this.api.post("api/auth/viewer");
    } catch (error) {
      if (error instanceof Unreachable && (await this.#isRunning())) {
        throw new NotAllowedHere();
      }
      throw error;
    }
  }

  /**
   * Whether the server is running. Browsers do not distinguish a forbidden response from a missing
   * one, but every website may read /embed.js.
   */
  async #isRunning() {
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
