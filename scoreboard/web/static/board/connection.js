/**
 * The connection to the live board. It reconnects by itself.
 *
 * @typedef {{
 *   kind: "connecting" | "live" | "reconnecting" | "offline" | "refused",
 *   until?: number,
 *   reason?: string,
 * }} State `until` is the time (Date.now) of an offline connection's next attempt; `reason` is a
 *   sentence for the user
 *
 * @typedef {{fresh: () => Promise<import("./viewer.js").Token>, discard: () => void}} Tokens
 */

import { Refused } from "./api.js";
import { EXPIRES_SOON, mayNotWatch, NotAllowedHere } from "./viewer.js";

const TOKEN_REFUSED = 4401; // close code
// Times are in milliseconds.
const MIN_RETRY_DELAY = 1_000;
const MAX_RETRY_DELAY = 30_000;
const CONNECT_TIMEOUT = 10_000;
const CHECK_INTERVAL = 15_000;
// Without a message for this long, the connection is replaced: a lost network is not reported to
// the page, and a wall screen has no user who would reload it.
const MAX_SILENCE = 120_000;

/** The connection of one viewer of one board. It stays open until its replacement has received a message. */
export class Connection {
  /** @type {WebSocket | null} */
  #socket = null;
  #expiresAt = 0;
  #receivedAt = 0;
  #failures = 0;
  #connecting = false;
  #stopped = new AbortController();
  #retry = 0;

  /**
   * @param {URL} base
   * @param {string} board the id of the board to watch
   * @param {Tokens} tokens
   * @param {(message: any) => void} onMessage
   * @param {(state: State) => void} onState
   */
  constructor(base, board, tokens, onMessage, onState) {
    this.#address = new URL("ws/scoreboard", base);
    this.#address.protocol = this.#address.protocol.replace("http", "ws");
    this.#address.searchParams.set("board", board);
    this.tokens = tokens;
    this.onMessage = onMessage;
    this.onState = onState;
  }

  #address;

  /** Connect, and stay connected until `stop`. */
  start() {
    const { signal } = this.#stopped;
    const check = () => this.#socket && this.#isStale() && this.#connect();
    const timer = setInterval(check, CHECK_INTERVAL);
    signal.addEventListener("abort", () => clearInterval(timer));
    addEventListener("online", () => this.now(), { signal });
    addEventListener("offline", () => this.#lose(), { signal });
    // A page restored from the back/forward cache has a closed connection.
    addEventListener("pageshow", ({ persisted }) => persisted && this.#connect(), { signal });
    const onVisible = () => document.visibilityState === "visible" && this.now();
    document.addEventListener("visibilitychange", onVisible, { signal });
    this.onState({ kind: "connecting" });
    this.#connect();
  }

  /** Disconnect for good. */
  stop() {
    this.#stopped.abort();
    clearTimeout(this.#retry);
    this.#use(null);
  }

  /** Connect now, unless the connection is open and recent. */
  now() {
    this.#failures = 0;
    if (!this.#socket || this.#isStale()) {
      this.#connect();
    }
  }

  /** Replace the connection by one with a new token. */
  restart() {
    this.tokens.discard();
    this.#connect();
  }

  #isStale() {
    const now = Date.now();
    return this.#expiresAt - now < EXPIRES_SOON || now - this.#receivedAt > MAX_SILENCE;
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
   * Open a socket. It replaces the current one with its first message, which is the top 10.
   *
   * @param {string} token sent as a subprotocol, because URLs are in access logs
   * @returns {Promise<void>} resolves with the first message
   */
  #open(token) {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(this.#address, ["scoreboard", token]);
      const timer = setTimeout(() => socket.close(), CONNECT_TIMEOUT);
      socket.onmessage = (event) => {
        if (this.#stopped.signal.aborted) {
          return socket.close();
        }
        if (this.#socket !== socket) {
          clearTimeout(timer);
          this.#use(socket);
          this.onState({ kind: "live" });
          resolve();
        }
        this.#receivedAt = Date.now();
        this.onMessage(JSON.parse(event.data));
      };
      socket.onclose = (event) => {
        clearTimeout(timer);
        if (this.#socket === socket) {
          this.#lose(event.code);
        } else {
          this.tokens.discard(); // a page cannot read why a handshake was refused
          reject(new Error("handshake refused"));
        }
      };
    });
  }

  /** @param {WebSocket | null} socket the one that replaces the current one */
  #use(socket) {
    const old = this.#socket;
    this.#socket = socket;
    if (old) {
      old.onmessage = old.onclose = null;
      old.close();
    }
  }

  /** @param {number} [code] the close code */
  #lose(code) {
    if (!this.#socket) {
      return;
    }
    this.#use(null);
    if (code === TOKEN_REFUSED) {
      this.tokens.discard();
    }
    this.onState({ kind: "reconnecting" });
    this.#retryAfter(Math.random() * MIN_RETRY_DELAY);
  }

  /** @param {unknown} error the reason why there is no new connection */
  #fail(error) {
    if (this.#stopped.signal.aborted) {
      return;
    }
    if (mayNotWatch(error) || error instanceof NotAllowedHere) {
      this.#use(null);
      this.onState({ kind: "refused", reason: error.message });
      // The board may change, or the server was only restarting.
      this.#retryAfter(MAX_RETRY_DELAY * (1 + Math.random()));
      return;
    }
    if (this.#socket && error instanceof Refused) {
      return; // the current one is still valid, and the next check tries again
    }
    this.#use(null);
    const longest = Math.min(MIN_RETRY_DELAY * 2 ** this.#failures, MAX_RETRY_DELAY);
    this.#failures += 1;
    const requested = error instanceof Refused ? error.retryAfter * 1000 : 0;
    const reason = error instanceof Refused ? error.message : undefined;
    const delay = Math.max(requested, longest / 2 + (Math.random() * longest) / 2);
    this.onState({ kind: "offline", until: Date.now() + delay, reason });
    this.#retryAfter(delay);
  }

  /** @param {number} delay */
  #retryAfter(delay) {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#connect(), delay);
  }
}
