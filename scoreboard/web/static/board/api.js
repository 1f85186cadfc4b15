/** A JSON client of the API. Its errors have messages that can be shown to the user. */

// Times are in milliseconds.
const REQUEST_TIMEOUT = 10_000;
// Retries of a refresh without a response, and the delay before the first.
const MAX_RETRIES = 3;
const RETRY_DELAY = 500;
// Statuses of success for which the server sends no body.
const WITHOUT_BODY = [202, 204];

/** The server refused the request. `message` is a sentence for the user. */
export class Refused extends Error {
  /**
   * @param {number} status
   * @param {{
   *   code?: string,
   *   message?: string,
   *   fields?: Record<string, string[]>,
   *   receipt?: object,
   * }} detail the `error` of the response
   * @param {number} retryAfter seconds, 0 without a Retry-After header
   */
  constructor(status, detail, retryAfter) {
    const message = detail.message ?? "The server could not process the request.";
    super([message, ...Object.values(detail.fields ?? {}).flat()].join(" "));
    this.status = status;
    this.code = detail.code ?? "";
    this.receipt = detail.receipt;
    this.retryAfter = retryAfter;
  }
}

/** There is no response, or none that this page may read. */
export class Unreachable extends Error {
  constructor() {
    super("The server cannot be reached. Try again in a moment.");
  }
}

/** The endpoints of one server. */
export class Api {
  /** @param {URL} base the URL that paths are relative to */
  constructor(base) {
    this.base = base;
  }

  /**
   * @param {string} path
   * @param {string | null} [token]
   * @returns {Promise<any>} the body
   */
  get(path, token) {
    return this.#send(path, { headers: bearer(token) });
  }

  /**
   * @param {string} path
   * @param {object} [body]
   * @param {string | null} [token]
   * @returns {Promise<any>} the body, null if there is none
   */
  post(path, body, token) {
    return this.request("POST", path, body, token);
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {object} [body]
   * @param {string | null} [token]
   * @returns {Promise<any>} the body, null if there is none
   */
  request(method, path, body, token) {
    const headers = { ...bearer(token), ...(body && { "Content-Type": "application/json" }) };
    return this.#send(path, { method, headers, body: body && JSON.stringify(body) });
  }

  /**
   * Exchange a refresh token for a new pair. Without a response it is sent again, with backoff: the
   * server may have accepted it and the response was lost. It accepts it again for 30 seconds.
   *
   * @param {string} token
   * @returns {Promise<any>} the pair
   * @throws Refused with a code if the sign-in has ended; after other errors it may still be valid
   */
  async refresh(token) {
    for (let failures = 0; ; failures += 1) {
      try {
        return await this.post("api/auth/refresh", undefined, token);
      } catch (error) {
        const isTemporary = error instanceof Unreachable || error.status >= 500;
        if (!isTemporary || failures === MAX_RETRIES) {
          throw error;
        }
      }
      const delay = RETRY_DELAY * 2 ** failures * (0.5 + Math.random() / 2);
      await new Promise((done) => setTimeout(done, delay));
    }
  }

  /**
   * @param {string} path
   * @param {RequestInit} options
   */
  async #send(path, options) {
    // AbortSignal.timeout is not in the oldest browsers that the pages support.
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(), REQUEST_TIMEOUT);
    const { signal } = timeout;
    let response;
    let text;
    try {
      response = await fetch(new URL(path, this.base), { ...options, signal, credentials: "omit" });
      text = await response.text();
    } catch {
      throw new Unreachable();
    } finally {
      clearTimeout(timer);
    }
    const body = parsed(text);
    if (!response.ok) {
      const retryAfter = Number(response.headers.get("Retry-After")) || 0;
      throw new Refused(response.status, body?.error ?? {}, retryAfter);
    }
    if (body === null && !WITHOUT_BODY.includes(response.status)) {
      throw new Unreachable(); // not from the server, for example from a captive portal
    }
    return body;
  }
}

/** @param {string | null} [token] */
function bearer(token) {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // an error page of a proxy, or an empty body
  }
}
