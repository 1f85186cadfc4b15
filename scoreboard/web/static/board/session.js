/**
 * A player's sign-in.
 *
 * The access token is in memory only. The refresh token is in sessionStorage, so that a reload
 * (a phone does one unasked) does not sign out; it goes with the tab and never leaves for another
 * site. It is good for one use and 30 seconds: a duplicated tab takes a copy along, so the tabs
 * refresh one at a time and send each other the new pair.
 *
 * @typedef {{user_id: string, username: string}} User
 */

import { Refused } from "./api.js";
import { Kept, Shared, oneAtATime } from "./tabs.js";
import { isFresh, tokenOf } from "./viewer.js";

/** Signs in and out, and asks the API as whoever is signed in. */
export class Session {
  /** @type {User | null} */
  user = null;
  /** @type {import("./viewer.js").Token | null} */
  #access = null;
  #kept = new Kept("scoreboard.refresh_token");
  #shared = new Shared("scoreboard.session", (news) => this.#adopt(news));
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
    return this.#kept.text !== null;
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
    // The server takes either token, so there is no need to refresh first.
    const token = isFresh(this.#access) ? this.#access.text : this.#kept.text;
    this.#drop();
    await this.api.post("api/auth/logout", undefined, token);
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
    if (!this.#access) {
      const message = "You are not signed in.";
      throw new Refused(401, { code: "token_missing", message }, 0);
    }
    return this.#access;
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
    try {
      await oneAtATime("scoreboard.refresh", async () => {
        // Another tab may have refreshed meanwhile, or somebody signed in or out here.
        const token = this.#kept.text;
        if (turn !== this.#turn || token === null || isFresh(this.#access)) {
          return;
        }
        const pair = await this.api.refresh(token);
        if (turn === this.#turn) {
          this.#keep(pair);
          this.#shared.send({ stale: token, access: this.#access, kept: pair.refresh_token });
        }
      });
    } catch (error) {
      if (turn !== this.#turn) {
        return;
      }
      // Without a code it is not our server that refuses.
      if (error instanceof Refused && error.status === 401 && error.code && this.isSignedIn) {
        this.#drop();
        this.onEnd();
      }
      throw error;
    }
  }

  /** @param {any} pair the answer to a sign-in */
  #keep(pair) {
    this.#access = tokenOf(pair);
    this.#kept.text = pair.refresh_token;
  }

  /** @param {any} news the pair that another tab got for the refresh token `stale` */
  #adopt({ stale, access, kept }) {
    if (this.#kept.text === stale) {
      this.#access = access;
      this.#kept.text = kept;
    }
  }

  #drop() {
    this.#turn += 1;
    this.user = null;
    this.#access = null;
    this.#kept.text = null;
  }
}
