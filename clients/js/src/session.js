/** @import * as api from "./index.js" */
import { ScoreboardError, asScoreboardError } from "./errors.js";

// Milliseconds.
const ANSWER_WITHIN = 10_000;
const FIRST_RETRY = 500;

// How often a refresh that got no answer is sent again, before `token` rejects.
const MAX_RETRIES = 3;

/**
 * Posts to one of the auth endpoints. Rejects with a ScoreboardError.
 * @param {string} origin
 * @param {string} name
 * @param {{body?: object, bearer?: string}} [request]
 */
async function post(origin, name, { body, bearer } = {}) {
  let answer, content;
  // AbortSignal.timeout is not in all the browsers that this supports.
  const patience = new AbortController();
  const late = new Error(`There was no answer within ${ANSWER_WITHIN / 1000} s.`);
  const timer = setTimeout(() => patience.abort(late), ANSWER_WITHIN);
  try {
    answer = await fetch(new URL(`/api/auth/${name}`, origin), {
      method: "POST",
      headers: {
        ...(body && { "Content-Type": "application/json" }),
        ...(bearer && { Authorization: `Bearer ${bearer}` }),
      },
      body: body && JSON.stringify(body),
      signal: patience.signal,
    });
    content = answer.status === 204 ? undefined : await answer.json();
  } catch (error) {
    // No answer, or one of a proxy.
    throw asScoreboardError(error);
  } finally {
    clearTimeout(timer);
  }
  if (answer.ok) return content;
  if (!content?.error?.code) {
    // Not our server's: no reason to give the session up.
    throw asScoreboardError(`Something in between answered ${answer.status}.`);
  }
  throw new ScoreboardError({ status: answer.status, ...content.error });
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
      // A refresh token is good for one use: all who need a new token wait for the same answer.
      this.#refreshing ??= this.#refresh().finally(() => (this.#refreshing = undefined));
      await this.#refreshing;
    }
    return this.#pair.access_token;
  };

  /**
   * Gets a new pair. The server may have used the token up and its answer be lost: it takes the
   * same token again for 30 seconds. Only an error with its `status` says that the session is over.
   */
  async #refresh() {
    for (let failures = 0; ; failures++) {
      try {
        this.#pair = await post(this.#origin, "refresh", { bearer: this.#pair.refresh_token });
        this.#freshUntil = fresh(this.#pair);
        return;
      } catch (error) {
        const { status = 500 } = /** @type {ScoreboardError} */ (error);
        if (status < 500 || failures === MAX_RETRIES) throw error;
      }
      const wait = FIRST_RETRY * 2 ** failures * (0.5 + Math.random() / 2);
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }

  async signOut() {
    const { access_token, refresh_token } = this.#pair;
    // The server takes either token, so there is no need to refresh first.
    const bearer = Date.now() < this.#freshUntil ? access_token : refresh_token;
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
