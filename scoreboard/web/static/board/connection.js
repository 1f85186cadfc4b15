/**
 * The connection to the live board: it recovers by itself, whatever ended it.
 *
 * @typedef {{
 *   kind: "connecting" | "live" | "reconnecting" | "offline" | "refused",
 *   until?: number,
 *   reason?: string,
 * }} State `until`, as of Date.now, is when an offline connection tries again; `reason` is the
 *   sentence that says what is wrong
 *
 * @typedef {{fresh: () => Promise<import("./viewer.js").Token>, forget: () => void}} Tokens
 */

import { Refused } from "./api.js";
import { EXPIRES_SOON, NotAllowedHere } from "./viewer.js";

const TOKEN_REFUSED = 4401;
const FIRST_WAIT = 1_000;
const LONGEST_WAIT = 30_000;
const PATIENCE = 10_000;
const LOOK_EVERY = 15_000;
// Nothing was heard for so long: a fresh connection finds out whether there is still somebody.
// A network that vanished without a word shows in no other way, and a wall screen has no user.
const QUIET = 120_000;

/** One viewer's connection; while it is replaced by a new one the old one goes on. */
export class Connection {
  /** @type {WebSocket | null} */
  #socket = null;
  #expiresAt = 0;
  #heardAt = 0;
  #failures = 0;
  #connecting = false;
  #stopped = new AbortController();
  #retry = 0;

  /**
   * @param {URL} base
   * @param {Tokens} tokens
   * @param {(message: any) => void} onMessage
   * @param {(state: State) => void} onState
   */
  constructor(base, tokens, onMessage, onState) {
    this.#address = new URL("ws/scoreboard", base);
    this.#address.protocol = this.#address.protocol.replace("http", "ws");
    this.tokens = tokens;
    this.onMessage = onMessage;
    this.onState = onState;
  }

  #address;

  /** Connect, and stay connected until `stop`. */
  start() {
    const { signal } = this.#stopped;
    const look = setInterval(() => this.#socket && this.#isStale() && this.#connect(), LOOK_EVERY);
    signal.addEventListener("abort", () => clearInterval(look));
    addEventListener("online", () => this.now(), { signal });
    addEventListener("offline", () => this.#lose(), { signal });
    // A page that comes back as it was left has a connection that ended unheard.
    addEventListener("pageshow", ({ persisted }) => persisted && this.#connect(), { signal });
    const seen = () => document.visibilityState === "visible" && this.now();
    document.addEventListener("visibilitychange", seen, { signal });
    this.onState({ kind: "connecting" });
    this.#connect();
  }

  /** Disconnect for good. */
  stop() {
    this.#stopped.abort();
    clearTimeout(this.#retry);
    this.#use(null);
  }

  /** Do not wait any longer: connect now, unless the connection is there and well. */
  now() {
    this.#failures = 0;
    if (!this.#socket || this.#isStale()) {
      this.#connect();
    }
  }

  #isStale() {
    const now = Date.now();
    return this.#expiresAt - now < EXPIRES_SOON || now - this.#heardAt > QUIET;
  }

  async #connect() {
    if (this.#connecting || this.#stopped.signal.aborted) {
      return;
    }
    this.#connecting = true;
    clearTimeout(this.#retry);
    try {
      const token = await this.tokens.fresh();
      await this.#open(token.text);
      this.#expiresAt = token.expiresAt;
      this.#failures = 0;
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#connecting = false;
    }
  }

  /**
   * Open a socket; it is the connection from its first message on, which is the present board.
   *
   * @param {string} token as a subprotocol, since the address would be in access logs
   * @returns {Promise<void>} done with the first message
   */
  #open(token) {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(this.#address, ["scoreboard", token]);
      const patience = setTimeout(() => socket.close(), PATIENCE);
      socket.onmessage = (event) => {
        if (this.#stopped.signal.aborted) {
          return socket.close();
        }
        if (this.#socket !== socket) {
          clearTimeout(patience);
          this.#use(socket);
          this.onState({ kind: "live" });
          resolve();
        }
        this.#heardAt = Date.now();
        this.onMessage(JSON.parse(event.data));
      };
      socket.onclose = (event) => {
        clearTimeout(patience);
        if (this.#socket === socket) {
          this.#lose(event.code);
        } else {
          this.tokens.forget(); // a refused handshake tells a page nothing, so it may be that
          reject(new Error("not admitted"));
        }
      };
    });
  }

  /** @param {WebSocket | null} socket the one to use instead of the present one */
  #use(socket) {
    const old = this.#socket;
    this.#socket = socket;
    if (old) {
      old.onmessage = old.onclose = null;
      old.close();
    }
  }

  /** @param {number} [code] what the connection was closed with */
  #lose(code) {
    if (!this.#socket) {
      return;
    }
    this.#use(null);
    if (code === TOKEN_REFUSED) {
      this.tokens.forget();
    }
    this.onState({ kind: "reconnecting" });
    this.#wait(Math.random() * FIRST_WAIT);
  }

  /** @param {unknown} error why there is no new connection */
  #fail(error) {
    if (this.#stopped.signal.aborted) {
      return;
    }
    const notPublic = error instanceof Refused && error.status === 403;
    if (notPublic || error instanceof NotAllowedHere) {
      this.#use(null);
      this.onState({ kind: "refused", reason: error.message });
      // The setting may change, and a server that has just come back was taken for one that forbids.
      this.#wait(LONGEST_WAIT * (1 + Math.random()));
      return;
    }
    if (this.#socket && error instanceof Refused) {
      return; // the old one is good for a while, and the next look tries again
    }
    this.#use(null);
    const longest = Math.min(FIRST_WAIT * 2 ** this.#failures, LONGEST_WAIT);
    this.#failures += 1;
    const wanted = error instanceof Refused ? error.retryAfter * 1000 : 0;
    const reason = error instanceof Refused ? error.message : undefined;
    const wait = Math.max(wanted, longest / 2 + (Math.random() * longest) / 2);
    this.onState({ kind: "offline", until: Date.now() + wait, reason });
    this.#wait(wait);
  }

  /** @param {number} wait */
  #wait(wait) {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#connect(), wait);
  }
}
