/** @import * as api from "./index.js" */
import { ScoreboardError, asScoreboardError } from "./errors.js";

// Milliseconds.
const REQUEST_TIMEOUT = 10_000;
const MIN_RETRY_DELAY = 500;

// How often a refresh without a response is repeated before `token` rejects.
const MAX_RETRIES = 3;

/**
 * Sends a POST request to an endpoint. Rejects with a ScoreboardError.
 * @param {string} origin
 * @param {string} path below `/api/`
 * @param {{body?: object, bearer?: string}} [request]
 */
export async function post(origin, path, { body, bearer } = {}) {
  let response, content;
  // Some supported browsers have no AbortSignal.timeout.
  const controller = new AbortController();
  const late = new Error(`There was no response within ${REQUEST_TIMEOUT / 1000} s.`);
  const timer = setTimeout(() => controller.abort(late), REQUEST_TIMEOUT);
  try {
    response = await fetch(new URL(`/api/${path}`, origin), {
      method: "POST",
      headers: {
        ...(body && { "Content-Type": "application/json" }),
        ...(bearer && { Authorization: `Bearer ${bearer}` }),
      },
      body: body && JSON.stringify(body),
      signal: controller.signal,
    });
    content = response.status === 204 ? undefined : await response.json();
  } catch (error) {
    // There was no response, or a proxy sent one that is not JSON.
    throw asScoreboardError(error);
  } finally {
    clearTimeout(timer);
  }
  if (response.ok) return content;
  if (!content?.error?.code) {
    // A proxy sent the response, so it does not end the session.
    throw asScoreboardError(`A proxy responded with status ${response.status}.`);
  }
  throw new ScoreboardError({ status: response.status, ...content.error });
}

/**
 * Returns a source of read-only tokens.
 * @param {string} origin
 * @returns {() => Promise<string>}
 */
export function viewer(origin) {
  return async () => (await post(origin, "auth/viewer")).access_token;
}

/** @implements {api.Session} */
class OpenSession {
  #origin;
  #pair;
  #freshUntil;
  /** @type {Promise<void> | undefined} */
  #refreshing;
  #signedOut = false;

  /**
   * @param {string} origin
   * @param {any} pair
   */
  constructor(origin, pair) {
    this.#origin = origin;
    this.#pair = pair;
    this.#freshUntil = fresh(pair);
    this.userId = /** @type {string} */ (pair.user_id);
  }

  /** @param {string} [stale] */
  token = async (stale) => {
    if (this.#signedOut) {
      const message = "This session was signed out: sign in again.";
      throw new ScoreboardError({ code: "signed_out", status: 401, message });
    }
    if (stale === this.#pair.access_token || Date.now() > this.#freshUntil) {
      // A refresh token can be used once, so concurrent callers share one request.
      this.#refreshing ??= this.#refresh().finally(() => (this.#refreshing = undefined));
      await this.#refreshing;
    }
    return this.#pair.access_token;
  };

  /**
   * Gets a new pair of tokens. If the response is lost, it sends the same refresh token again,
   * which the server accepts for 30 seconds. Only an error with a `status` ends the session.
   */
  async #refresh() {
    for (let failures = 0; ; failures++) {
      try {
        this.#pair = await post(this.#origin, "auth/refresh", { bearer: this.#pair.refresh_token });
        this.#freshUntil = fresh(this.#pair);
        return;
      } catch (error) {
        const { status = 500 } = /** @type {ScoreboardError} */ (error);
        if (status < 500 || failures === MAX_RETRIES) throw error;
      }
      const wait = MIN_RETRY_DELAY * 2 ** failures * (0.5 + Math.random() / 2);
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }

  async signOut() {
    const { access_token, refresh_token } = this.#pair;
    // The server accepts either token, so no refresh is needed first.
    const bearer = Date.now() < this.#freshUntil ? access_token : refresh_token;
    // Set this first: when the server closes the connections, they request a new token.
    this.#signedOut = true;
    try {
      await post(this.#origin, "auth/logout", { bearer });
    } catch (error) {
      this.#signedOut = false;
      throw error;
    }
  }
}

/**
 * Returns until when a new pair of tokens can be used.
 * @param {{expires_in: number}} pair
 */
function fresh(pair) {
  return Date.now() + pair.expires_in * 900;
}

/** @type {typeof api.signIn} */
export async function signIn(origin, username, password) {
  return new OpenSession(origin, await post(origin, "auth/login", { body: { username, password } }));
}
