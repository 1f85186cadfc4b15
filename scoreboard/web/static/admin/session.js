/**
 * An admin's session.
 *
 * The tokens are only in memory, because an admin's token is powerful: a reload signs out. The
 * refresh token renews the access token until the page is closed.
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
   * Sign in and return the account. Throws Refused, and signs out, unless it is an admin's.
   *
   * @param {string} username
   * @param {string} password
   * @returns {Promise<{username: string, role: string}>}
   */
  async signIn(username, password) {
    this.#store(await this.#api.post("/api/auth/login", { username, password }));
    const account = await this.get("/api/auth/me");
    if (account.role !== "admin") {
      await this.signOut().catch(() => {});
      const message = `This is the account of a ${account.role}: this page is for admins.`;
      throw new Refused(401, { code: "not_permitted", message }, 0);
    }
    return account;
  }

  /** Sign out. Throws if the request fails; the session has then ended on this page only. */
  async signOut() {
    try {
      await this.post("/api/auth/logout");
    } finally {
      this.discard();
    }
  }

  discard() {
    this.#access = this.#refresh = null;
  }

  /** @param {string} path */
  get(path) {
    return this.#send((token) => this.#api.get(path, token));
  }

  /**
   * @param {string} path
   * @param {object} [body]
   */
  post(path, body) {
    return this.#send((token) => this.#api.post(path, body, token));
  }

  /** @param {(token: string | null) => Promise<any>} request repeated if the token has expired */
  async #send(request) {
    const token = this.#access;
    try {
      return await request(token);
    } catch (error) {
      if (error.code !== "token_expired") {
        throw error;
      }
    }
    if (this.#access === token) {
      await this.#renew();
    }
    return request(this.#access);
  }

  /** Renew once for all waiting requests: a refresh token can be used once. */
  #renew() {
    const token = this.#refresh;
    this.#renewing ??= this.#api
      .refresh(token)
      .then((pair) => {
        // Not after sign-out.
        if (this.#refresh === token) {
          this.#store(pair);
        }
      })
      .finally(() => {
        this.#renewing = null;
      });
    return this.#renewing;
  }

  #store(pair) {
    this.#access = pair.access_token;
    this.#refresh = pair.refresh_token;
  }
}
