/** Asking the server: JSON in, JSON out, and errors that can be shown as they are. */

const PATIENCE = 10_000;
// How often a refresh without an answer is sent again, and how long to wait before the first time.
const MAX_RETRIES = 3;
const FIRST_RETRY = 500;

/** The server answered, and refused. `message` is a sentence for whoever reads the page. */
export class Refused extends Error {
  /**
   * @param {number} status
   * @param {{
   *   code?: string,
   *   message?: string,
   *   fields?: Record<string, string[]>,
   *   receipt?: object,
   * }} detail what `error` holds
   * @param {number} retryAfter seconds, 0 if the server named none
   */
  constructor(status, detail, retryAfter) {
    const message = detail.message ?? "The server could not answer.";
    super([message, ...Object.values(detail.fields ?? {}).flat()].join(" "));
    this.status = status;
    this.code = detail.code ?? "";
    this.receipt = detail.receipt;
    this.retryAfter = retryAfter;
  }
}

/** No answer came, or none that this page may read. */
export class Unreachable extends Error {
  constructor() {
    super("The server cannot be reached. Try again in a moment.");
  }
}

/** The endpoints of one server. */
export class Api {
  /** @param {URL} base the address that the paths are relative to */
  constructor(base) {
    this.base = base;
  }

  /**
   * @param {string} path
   * @param {string | null} [token]
   * @returns {Promise<any>} the body
   */
  get(path, token) {
    return this.#ask(path, { headers: bearer(token) });
  }

  /**
   * @param {string} path
   * @param {object} [body]
   * @param {string | null} [token]
   * @returns {Promise<any>} the body, null if there is none
   */
  post(path, body, token) {
    const headers = { ...bearer(token), ...(body && { "Content-Type": "application/json" }) };
    return this.#ask(path, { method: "POST", headers, body: body && JSON.stringify(body) });
  }

  /**
   * Exchange a refresh token for a new pair. Without an answer it is sent again, with backoff: the
   * server may have used it up and its answer be lost, and takes it again for 30 seconds.
   *
   * @param {string} token
   * @returns {Promise<any>} the pair
   * @throws Refused with a code if the sign-in is over; after any other error it may live on
   */
  async refresh(token) {
    for (let failures = 0; ; failures += 1) {
      try {
        return await this.post("api/auth/refresh", undefined, token);
      } catch (error) {
        const isPassing = error instanceof Unreachable || error.status >= 500;
        if (!isPassing || failures === MAX_RETRIES) {
          throw error;
        }
      }
      const wait = FIRST_RETRY * 2 ** failures * (0.5 + Math.random() / 2);
      await new Promise((done) => setTimeout(done, wait));
    }
  }

  /**
   * @param {string} path
   * @param {RequestInit} options
   */
  async #ask(path, options) {
    // AbortSignal.timeout is not in the oldest browsers that the pages support.
    const patience = new AbortController();
    const timer = setTimeout(() => patience.abort(), PATIENCE);
    const { signal } = patience;
    let answer;
    let text;
    try {
      answer = await fetch(new URL(path, this.base), { ...options, signal, credentials: "omit" });
      text = await answer.text();
    } catch {
      throw new Unreachable();
    } finally {
      clearTimeout(timer);
    }
    const body = parsed(text);
    if (!answer.ok) {
      const retryAfter = Number(answer.headers.get("Retry-After")) || 0;
      throw new Refused(answer.status, body?.error ?? {}, retryAfter);
    }
    if (body === null && answer.status !== 204) {
      throw new Unreachable(); // a page of something in between, such as a captive portal's
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
    return null; // a proxy's page of its own, or nothing at all
  }
}
