/** @import * as api from "./index.js" */
import { ScoreboardError, asScoreboardError } from "./errors.js";

const ANSWER_WITHIN = 10_000;

/**
 * Posts to one of the auth endpoints. Rejects with a ScoreboardError.
 * @param {string} origin
 * @param {string} name
 * @param {{body?: object, bearer?: string}} [request]
 */
async function post(origin, name, { body, bearer } = {}) {
  let answer, content;
  try {
    answer = await fetch(new URL(`/api/auth/${name}`, origin), {
      method: "POST",
      headers: {
        ...(body && { "Content-Type": "application/json" }),
        ...(bearer && { Authorization: `Bearer ${bearer}` }),
      },
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_WITHIN),
    });
    content = answer.status === 204 ? undefined : await answer.json();
  } catch (error) {
    // No answer, or one of a proxy.
    throw asScoreboardError(error);
  }
  if (!answer.ok) throw new ScoreboardError({ status: answer.status, ...content.error });
  return content;
}

/**
 * Returns a source of tokens that may only watch.
 * @param {string} origin
 * @returns {() => Promise<string>}
 */
export function viewer(origin) {
  return async () => (await post(origin, "viewer")).access_token;
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
      // A refresh token is good for one use: whoever else asks meanwhile waits for the same answer.
      this.#refreshing ??= this.#refresh().finally(() => (this.#refreshing = undefined));
      await this.#refreshing;
    }
    return this.#pair.access_token;
  };

  async #refresh() {
    this.#pair = await post(this.#origin, "refresh", { bearer: this.#pair.refresh_token });
    this.#freshUntil = fresh(this.#pair);
  }

  async signOut() {
    const bearer = await this.token();
    // Before the server closes the connections, or they would come for a new token.
    this.#signedOut = true;
    try {
      await post(this.#origin, "logout", { bearer });
    } catch (error) {
      this.#signedOut = false;
      throw error;
    }
  }
}

/**
 * Until when a pair of tokens that came just now is fresh.
 * @param {{expires_in: number}} pair
 */
function fresh(pair) {
  return Date.now() + pair.expires_in * 900;
}

/** @type {typeof api.signIn} */
export async function signIn(origin, username, password) {
  return new OpenSession(origin, await post(origin, "login", { body: { username, password } }));
}
