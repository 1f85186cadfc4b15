/**
 * An admin's session.
 *
 * The access token is only in memory. The refresh token is in sessionStorage: a reload keeps the
 * session, and closing the tab ends it. An admin's token is powerful, so it is never in
 * localStorage. If storage is blocked, the session ends with the page.
 */

import { Api, Refused, Unreachable } from "../board/api.js";
import { TabChannel } from "../board/tabs.js";

const KEY = "scoreboard.admin.refresh_token";
const DOWNLOAD_TIMEOUT = 60_000; // milliseconds

export class Session {
  #api = new Api(new URL("/", document.baseURI));
  /** @type {string | null} */
  #access = null;
  /** @type {string | null} */
  #refresh = stored();
  /** @type {Promise<void> | null} */
  #renewing = null;
  /** A duplicated tab has a copy of the refresh token, which can be used once. */
  #otherTabs = new TabChannel("scoreboard.admin.session", ({ used, pair }) => {
    if (this.#refresh === used) {
      this.#store(pair);
    }
  });

  /** Whether there is a sign-in from before a reload. */
  get isStored() {
    return this.#refresh !== null;
  }

  /**
   * Return the account of a session from before a reload. Throws Refused unless it is an admin's.
   *
   * @returns {Promise<{user_id: string, username: string, role: string}>}
   */
  async restore() {
    await this.#renew();
    return this.#account();
  }

  /**
   * Sign in and return the account. Throws Refused, and signs out, unless it is an admin's.
   *
   * @param {string} username
   * @param {string} password
   * @returns {Promise<{user_id: string, username: string, role: string}>}
   */
  async signIn(username, password) {
    this.#store(await this.#api.post("/api/auth/login", { username, password }));
    return this.#account();
  }

  /**
   * Choose a password with the token of a reset link.
   *
   * @param {string} token
   * @param {string} newPassword
   */
  resetPassword(token, newPassword) {
    return this.#api.post("/api/auth/reset", { token, new_password: newPassword });
  }

  async #account() {
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
    const token = this.#access;
    this.discard();
    await this.#api.post("/api/auth/logout", undefined, token);
  }

  discard() {
    this.#access = this.#refresh = null;
    store(null);
  }

  /** @param {string} path */
  get(path) {
    return this.#send((token) => this.#api.get(path, token));
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {object} [body]
   */
  request(method, path, body) {
    return this.#send((token) => this.#api.request(method, path, body, token));
  }

  /**
   * @param {string} path
   * @returns {Promise<Blob>} the body, as it is
   */
  download(path) {
    return this.#send((token) => download(path, token));
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
    const used = this.#refresh;
    this.#renewing ??= this.#api
      .refresh(used)
      .then((pair) => {
        // Not after sign-out.
        if (this.#refresh === used) {
          this.#store(pair);
          this.#otherTabs.send({ used, pair });
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
    store(this.#refresh);
  }
}

/** @returns {string | null} */
function stored() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null; // storage is blocked
  }
}

/** @param {string | null} token */
function store(token) {
  try {
    if (token === null) {
      sessionStorage.removeItem(KEY);
    } else {
      sessionStorage.setItem(KEY, token);
    }
  } catch {
    // Storage is blocked: the session ends with the page.
  }
}

/**
 * @param {string} path
 * @param {string | null} token
 */
async function download(path, token) {
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(), DOWNLOAD_TIMEOUT);
  const options = { headers: { Authorization: `Bearer ${token}` }, signal: timeout.signal };
  let response;
  let body;
  try {
    response = await fetch(path, { ...options, credentials: "omit" });
    body = await response.blob();
  } catch {
    throw new Unreachable();
  } finally {
    clearTimeout(timer);
  }
  if (!response.ok) {
    const detail = await body.text().then(JSON.parse).catch(() => ({}));
    throw new Refused(response.status, detail.error ?? {}, 0);
  }
  return body;
}
