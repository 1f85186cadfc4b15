/**
 * An admin's sign-in, and asking the API with it.
 *
 * The tokens are in memory only: what an admin's token can do is worth more than a reload. The
 * refresh token renews the access token for as long as the page is open.
 */

import { Api, Refused } from "../board/api.js";

export class Session {
  #api = new Api(new URL("/", document.baseURI));
  /** @type {string | null} */
  #access = null;
  /** @type {string | null} */
  #refresh = null;
  /** @type {Promise<void> | null} */
  #renewing = null;

  /**
   * Sign in and return the account. Throws Refused for any but an admin's, which is signed out.
   *
   * @param {string} username
   * @param {string} password
   * @returns {Promise<{username: string, role: string}>}
   */
  async signIn(username, password) {
    this.#keep(await this.#api.post("/api/auth/login", { username, password }));
    const account = await this.get("/api/auth/me");
    if (account.role !== "admin") {
      await this.signOut().catch(() => {});
      const message = `This is the account of a ${account.role}: this page is for admins.`;
      throw new Refused(401, { code: "not_permitted", message }, 0);
    }
    return account;
  }

  /** Sign out, here at any rate; throws if the server could not be told. */
  async signOut() {
    try {
      await this.post("/api/auth/logout");
    } finally {
      this.forget();
    }
  }

  forget() {
    this.#access = this.#refresh = null;
  }

  /** @param {string} path */
  get(path) {
    return this.#ask((token) => this.#api.get(path, token));
  }

  /**
   * @param {string} path
   * @param {object} [body]
   */
  post(path, body) {
    return this.#ask((token) => this.#api.post(path, body, token));
  }

  /** @param {(token: string | null) => Promise<any>} ask asked again if the token has expired */
  async #ask(ask) {
    const token = this.#access;
    try {
      return await ask(token);
    } catch (error) {
      if (error.code !== "token_expired") {
        throw error;
      }
    }
    if (this.#access === token) {
      await this.#renew();
    }
    return ask(this.#access);
  }

  /** Renew once for all who wait: a refresh token is good for one use. */
  #renew() {
    const token = this.#refresh;
    this.#renewing ??= this.#api
      .refresh(token)
      .then((pair) => {
        // Not after signing out.
        if (this.#refresh === token) {
          this.#keep(pair);
        }
      })
      .finally(() => {
        this.#renewing = null;
      });
    return this.#renewing;
  }

  #keep(pair) {
    this.#access = pair.access_token;
    this.#refresh = pair.refresh_token;
  }
}
