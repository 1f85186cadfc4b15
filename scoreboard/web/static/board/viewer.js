/**
 * The tokens to watch a board with: a read-only one that anyone may have, or that of a user.
 *
 * @typedef {{text: string, expiresAt: number}} Token `expiresAt` is a time like Date.now
 * @typedef {{fresh: () => Promise<Token>, discard: () => void}} Source
 */

import { Refused, Unreachable } from "./api.js";

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

/**
 * @param {unknown} error
 * @returns {boolean} whether there is no such board, or the token may not watch it
 */
export function mayNotWatch(error) {
  return (
    error instanceof Refused &&
    (error.status === 403 || error.status === 404 || error.code === "not_permitted")
  );
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

/** Returns tokens that may watch a board. */
export class BoardTokens {
  /** @type {Source | null} the source of the last token */
  #source = null;
  /** @type {Token | null} the last token that was checked */
  #checked = null;

  /**
   * @param {import("./api.js").Api} api
   * @param {string} path the path of the board object
   * @param {() => Source[]} sources returns the sources to try, in this order
   */
  constructor(api, path, sources) {
    this.api = api;
    this.path = path;
    this.sources = sources;
  }

  /**
   * Return a token that may read the board. Each new one is checked with a request, because
   * browsers do not say why the handshake of a WebSocket was refused.
   *
   * @returns {Promise<Token>}
   * @throws the errors of the last source and of the API
   */
  async fresh() {
    const sources = this.sources();
    for (let place = 0; ; place += 1) {
      this.#source = sources[place];
      try {
        const token = await this.#source.fresh();
        if (token !== this.#checked) {
          await this.api.get(this.path, token.text);
          this.#checked = token;
        }
        return token;
      } catch (error) {
        if (mayNotWatch(error) && place < sources.length - 1) {
          continue;
        }
        if (error instanceof Refused && error.status === 401 && !mayNotWatch(error)) {
          this.#source.discard();
        }
        throw error;
      }
    }
  }

  /** Do not use the last token again. */
  discard() {
    this.#source?.discard();
  }
}
