/**
 * An admin's sign-in, and asking the API with it.
 *
 * The tokens are in memory only: what an admin's token can do is worth more than a reload. The
 * refresh token renews the access token for as long as the page is open.
 */

const PATIENCE = 10_000;

/** The API refused a request; `message` is its own sentence. */
export class Refused extends Error {
  /**
   * @param {number} status
   * @param {{code: string, message: string, fields?: Record<string, string[]>}} error
   */
  constructor(status, error) {
    super([error.message, ...Object.values(error.fields ?? {}).flat()].join(" "));
    this.status = status;
    this.code = error.code;
  }
}

/** There was no answer, or none of ours. */
export class Unreachable extends Error {
  constructor() {
    super("The server cannot be reached.");
  }
}

export class Session {
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
    this.#keep(await send("POST", "/api/auth/login", null, { username, password }));
    const account = await this.get("/api/auth/me");
    if (account.role !== "admin") {
      await this.signOut().catch(() => {});
      const message = `This is the account of a ${account.role}: this page is for admins.`;
      throw new Refused(401, { code: "not_permitted", message });
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
    return this.#ask("GET", path);
  }

  /**
   * @param {string} path
   * @param {object} [body]
   */
  post(path, body) {
    return this.#ask("POST", path, body);
  }

  async #ask(method, path, body) {
    const token = this.#access;
    try {
      return await send(method, path, token, body);
    } catch (error) {
      if (error.code !== "token_expired") {
        throw error;
      }
    }
    if (this.#access === token) {
      await this.#renew();
    }
    return send(method, path, this.#access, body);
  }

  /** Renew once for all who wait: a refresh token that is used twice ends the sign-in. */
  #renew() {
    this.#renewing ??= send("POST", "/api/auth/refresh", this.#refresh)
      .then((pair) => this.#keep(pair))
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

async function send(method, path, token, body) {
  const headers = {};
  if (token) {
    headers.Authorization = `Bearer ${token}`;
  }
  if (body) {
    headers["Content-Type"] = "application/json";
  }
  const signal = AbortSignal.timeout(PATIENCE);
  const request = { method, headers, body: body && JSON.stringify(body), cache: "no-store", signal };
  let response;
  let told = null;
  try {
    response = await fetch(path, request);
    told = response.status === 204 ? null : await response.json();
  } catch {
    throw new Unreachable();
  }
  if (!response.ok) {
    throw told?.error ? new Refused(response.status, told.error) : new Unreachable();
  }
  return told;
}
