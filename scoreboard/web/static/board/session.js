/**
 * A player's sign-in.
 *
 * The access token is in memory only. The refresh token is in sessionStorage, so that a reload
 * (a phone does one unasked) does not sign out; it goes with the tab, is good for one use, and
 * never leaves for another site. A duplicated tab takes a copy along: the second use of it ends
 * the sign-in, as it would a thief's.
 *
 * @typedef {{user_id: string, username: string}} User
 */

import { Refused } from "./api.js";
import { isFresh, tokenOf } from "./viewer.js";

const KEPT = "scoreboard.refresh_token";

/** Signs in and out, and asks the API as whoever is signed in. */
export class Session {
  /** @type {User | null} */
  user = null;
  /** @type {import("./viewer.js").Token | null} */
  #access = null;
  /** @type {Promise<void> | null} */
  #refreshing = null;
  /** Which sign-in this is: what an earlier one asked for is not about it. */
  #turn = 0;

  /**
   * @param {import("./api.js").Api} api
   * @param {() => void} onEnd called when the server has ended the sign-in
   */
  constructor(api, onEnd) {
    this.api = api;
    this.onEnd = onEnd;
  }

  /** Whether there is a sign-in, be it one from before a reload with its `user` not known yet. */
  get isSignedIn() {
    return sessionStorage.getItem(KEPT) !== null;
  }

  /** Go on with the sign-in from before a reload, if there is one. */
  async restore() {
    if (this.isSignedIn) {
      await this.#enter();
    }
  }

  /**
   * @param {string} username
   * @param {string} password
   */
  async signIn(username, password) {
    const pair = await this.api.post("api/auth/login", { username, password });
    this.#turn += 1;
    this.#keep(pair);
    await this.#enter();
  }

  /** Sign out, here at any rate; throws if the server could not be told. */
  async signOut() {
    let text;
    try {
      ({ text } = await this.fresh());
    } finally {
      this.#drop();
    }
    await this.api.post("api/auth/logout", undefined, text);
  }

  /**
   * @param {string} path
   * @returns {Promise<any>}
   */
  get(path) {
    return this.#ask((token) => this.api.get(path, token));
  }

  /**
   * @param {string} path
   * @param {object} body
   * @returns {Promise<any>}
   */
  post(path, body) {
    return this.#ask((token) => this.api.post(path, body, token));
  }

  /** @returns {Promise<import("./viewer.js").Token>} a token that is good for a while */
  async fresh() {
    if (!isFresh(this.#access)) {
      this.#refreshing ??= this.#refresh().finally(() => (this.#refreshing = null));
      await this.#refreshing;
    }
    return /** @type {import("./viewer.js").Token} */ (this.#access);
  }

  /** Do not use the present access token again. */
  forget() {
    this.#access = null;
  }

  async #enter() {
    const turn = this.#turn;
    const user = await this.get("api/auth/me");
    if (turn === this.#turn) {
      this.user = user;
    }
  }

  /** @param {(token: string) => Promise<any>} ask asked again, once, if the token was refused */
  async #ask(ask) {
    const { text } = await this.fresh();
    try {
      return await ask(text);
    } catch (error) {
      if (!(error instanceof Refused && error.status === 401) || error.code === "not_permitted") {
        throw error;
      }
    }
    this.forget();
    return ask((await this.fresh()).text);
  }

  async #refresh() {
    const turn = this.#turn;
    const token = sessionStorage.getItem(KEPT) ?? undefined;
    try {
      const pair = await this.api.post("api/auth/refresh", undefined, token);
      if (turn === this.#turn) {
        this.#keep(pair);
      }
    } catch (error) {
      if (turn !== this.#turn) {
        return;
      }
      if (error instanceof Refused && error.status === 401 && this.isSignedIn) {
        this.#drop();
        this.onEnd();
      }
      throw error;
    }
  }

  /** @param {any} pair the answer to a sign-in */
  #keep(pair) {
    this.#access = tokenOf(pair);
    sessionStorage.setItem(KEPT, pair.refresh_token);
  }

  #drop() {
    this.#turn += 1;
    this.user = null;
    this.#access = null;
    sessionStorage.removeItem(KEPT);
  }
}
