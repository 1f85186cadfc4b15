/**
 * A player's session.
 *
 * The access token is only in memory. The refresh token is in localStorage, so that the sign-in
 * outlives the tab; on a shared computer it is in sessionStorage and ends with the tab. Other sites
 * cannot read it. It can be used once, and again for 30 seconds: all tabs have the same one, so they
 * refresh one at a time and send each other the new pair.
 *
 * @typedef {{user_id: string, username: string, email: string | null}} User
 */

import { Refused } from "./api.js";
import { StoredText, TabChannel, oneAtATime } from "./tabs.js";
import { isFresh, tokenOf } from "./viewer.js";

const KEY = "scoreboard.refresh_token";

/** Signs in and out, and sends requests as the signed-in user. */
export class Session {
  /** @type {User | null} */
  user = null;
  /** @type {import("./viewer.js").Token | null} */
  #access = null;
  #refreshToken = new StoredText(KEY);
  #otherTabs = new TabChannel("scoreboard.session", (pair) => this.#adopt(pair));
  /** @type {Promise<void> | null} */
  #refreshing = null;
  /** Number of the current sign-in: responses to requests of an earlier one are ignored. */
  #generation = 0;

  /**
   * @param {import("./api.js").Api} api
   * @param {() => void} onEnd called when the server has ended the sign-in
   * @param {() => void} [onOtherTab] called when another tab has signed in or out
   */
  constructor(api, onEnd, onOtherTab = () => {}) {
    this.api = api;
    this.onEnd = onEnd;
    addEventListener("storage", ({ key }) => {
      if (key === KEY && Boolean(this.user) !== this.isSignedIn) {
        if (this.user) {
          this.#end();
        }
        onOtherTab();
      }
    });
  }

  /** Whether there is a session. After a reload its `user` is not loaded yet. */
  get isSignedIn() {
    return this.#refreshToken.text !== null;
  }

  /** Load the user of a session from before a reload, if there is one. */
  async restore() {
    if (this.isSignedIn) {
      await this.#loadUser();
    }
  }

  /**
   * @param {{username: string, password: string}} account
   * @param {boolean} isShared whether the sign-in must end with the tab
   */
  async signIn(account, isShared) {
    await this.#start(await this.api.post("api/auth/login", account), isShared);
  }

  /**
   * Become a player with a name only.
   *
   * @param {{username: string, join_code?: string}} player
   * @param {boolean} isShared
   */
  async join(player, isShared) {
    await this.#start(await this.api.post("api/auth/join", player), isShared);
  }

  /**
   * Create an account and sign in.
   *
   * @param {{username: string, email: string, password: string, join_code?: string}} account
   * @param {boolean} isShared
   */
  async register(account, isShared) {
    const { username, password } = account;
    await this.api.post("api/auth/register", account);
    await this.signIn({ username, password }, isShared);
  }

  /**
   * Make a player with a name only a full account.
   *
   * @param {{email: string, password: string}} account
   */
  async claim(account) {
    await this.post("api/auth/claim", account);
    await this.#loadUser();
  }

  /** Sign out. Throws if the request fails; the session has then ended on this page only. */
  async signOut() {
    // The server accepts either token: no refresh is needed.
    const token = isFresh(this.#access) ? this.#access.text : this.#refreshToken.text;
    this.#end();
    await this.api.post("api/auth/logout", undefined, token);
  }

  /**
   * @param {string} path
   * @returns {Promise<any>}
   */
  get(path) {
    return this.#send((token) => this.api.get(path, token));
  }

  /**
   * @param {string} path
   * @param {object} body
   * @returns {Promise<any>}
   */
  post(path, body) {
    return this.#send((token) => this.api.post(path, body, token));
  }

  /**
   * Change the name or the email address. A guest needs no password.
   *
   * @param {{username?: string, email?: string, current_password?: string}} values
   */
  async change(values) {
    const generation = this.#generation;
    const user = await this.#send((token) =>
      this.api.request("PATCH", "api/auth/me", values, token),
    );
    if (generation === this.#generation) {
      this.user = user;
    }
  }

  /**
   * Delete the account, which ends the session.
   *
   * @param {{current_password?: string}} values
   */
  async erase(values) {
    await this.#send((token) => this.api.request("DELETE", "api/auth/me", values, token));
    this.#end();
  }

  /** @returns {Promise<import("./viewer.js").Token>} a token that does not expire soon */
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

  /**
   * @param {any} pair the response to a sign-in
   * @param {boolean} isShared
   */
  async #start(pair, isShared) {
    this.#generation += 1;
    this.#access = tokenOf(pair);
    this.#refreshToken.keep(pair.refresh_token, isShared);
    await this.#loadUser();
  }

  /** Do not use the current access token again. */
  discard() {
    this.#access = null;
  }

  async #loadUser() {
    const generation = this.#generation;
    const user = await this.get("api/auth/me");
    if (generation === this.#generation) {
      this.user = user;
    }
  }

  /** @param {(token: string) => Promise<any>} request repeated once if the token was refused */
  async #send(request) {
    const { text } = await this.fresh();
    try {
      return await request(text);
    } catch (error) {
      if (!(error instanceof Refused && error.status === 401) || error.code === "not_permitted") {
        throw error;
      }
    }
    this.discard();
    return request((await this.fresh()).text);
  }

  async #refresh() {
    const generation = this.#generation;
    try {
      await oneAtATime("scoreboard.refresh", async () => {
        // In the meantime another tab may have refreshed, or the user signed in or out here.
        const token = this.#refreshToken.text;
        if (generation !== this.#generation || token === null || isFresh(this.#access)) {
          return;
        }
        const pair = await this.api.refresh(token);
        if (generation === this.#generation) {
          this.#store(pair);
          this.#otherTabs.send({ stale: token, access: this.#access, refresh: pair.refresh_token });
        }
      });
    } catch (error) {
      if (generation !== this.#generation) {
        return;
      }
      // A response without a code is not from our server.
      if (error instanceof Refused && error.status === 401 && error.code && this.isSignedIn) {
        this.#end();
        this.onEnd();
      }
      throw error;
    }
  }

  /** @param {any} pair the response to a refresh */
  #store(pair) {
    this.#access = tokenOf(pair);
    this.#refreshToken.text = pair.refresh_token;
  }

  /** @param {any} pair the pair that another tab received for the refresh token `stale` */
  #adopt({ stale, access, refresh }) {
    if (this.#refreshToken.text === stale) {
      this.#access = access;
      this.#refreshToken.text = refresh;
    }
  }

  #end() {
    this.#generation += 1;
    this.user = null;
    this.#access = null;
    this.#refreshToken.text = null;
  }
}
