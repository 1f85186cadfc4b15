/** Asking the server: JSON in, JSON out, and errors that can be shown as they are. */

const PATIENCE = 10_000;

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
   * @param {string} [token]
   * @returns {Promise<any>} the body
   */
  get(path, token) {
    return this.#ask(path, { headers: bearer(token) });
  }

  /**
   * @param {string} path
   * @param {object} [body]
   * @param {string} [token]
   * @returns {Promise<any>} the body, null if there is none
   */
  post(path, body, token) {
    const headers = { ...bearer(token), ...(body && { "Content-Type": "application/json" }) };
    return this.#ask(path, { method: "POST", headers, body: body && JSON.stringify(body) });
  }

  /**
   * @param {string} path
   * @param {RequestInit} options
   */
  async #ask(path, options) {
    let answer;
    let text;
    try {
      const signal = AbortSignal.timeout(PATIENCE);
      answer = await fetch(new URL(path, this.base), { ...options, signal, credentials: "omit" });
      text = await answer.text();
    } catch {
      throw new Unreachable();
    }
    const body = parsed(text);
    if (!answer.ok) {
      const retryAfter = Number(answer.headers.get("Retry-After")) || 0;
      throw new Refused(answer.status, body?.error ?? {}, retryAfter);
    }
    return body;
  }
}

/** @param {string} [token] */
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
