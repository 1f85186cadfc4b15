/** @import * as api from "./index.js" */
import { io } from "socket.io-client";
import { ScoreboardError, asScoreboardError } from "./errors.js";
import { post, viewer } from "./session.js";

// Milliseconds.
const SUBMIT_TIMEOUT = 30_000;
const ACKNOWLEDGEMENT_TIMEOUT = 5_000;
const MIN_RETRY_DELAY = 500;
const MAX_RETRY_DELAY = 5_000;
const MAX_TIMER_DELAY = 2 ** 31 - 1;

// Errors that do not mean that the token is invalid.
const TEMPORARY = ["server_error", "stopping", "too_many_connections"];

/** @implements {api.Scoreboard} @implements {api.Scoreboards} */
class LiveScoreboard {
  /** The top 10 without a name. @type {readonly api.Entry[]} */
  board = Object.freeze([]);
  /** The lists of the boards that `connect` names. @type {Readonly<Record<string, api.List>>} */
  boards = Object.freeze({});
  /** @type {api.State} */
  state = "connecting";

  /** @type {Record<keyof api.BoardEvents, Set<(value: any) => void>>} */
  #handlers = {
    board: new Set(),
    score: new Set(),
    settings: new Set(),
    state: new Set(),
    error: new Set(),
  };
  /** These reject the pending submits. @type {Set<(reason: api.ErrorDetail) => void>} */
  #pending = new Set();
  /** Why it was closed or refused. @type {api.ErrorDetail | undefined} */
  #end;
  #lastTimestamp = 0;
  /** The current list as text, by board. @type {Map<string | undefined, string>} */
  #texts = new Map();

  #origin;
  #source;
  /** @type {string | undefined} */
  #token;
  #renewAt = Infinity;
  #renewing = false;
  /** How many tokens in succession were refused, and how many attempts to connect failed. */
  #refusals = 0;
  #failures = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #socket;

  /**
   * @param {string} origin
   * @param {api.Options & Partial<api.BoardOptions>} options
   */
  constructor(origin, { token = viewer(origin), boards }) {
    this.#origin = origin;
    this.#source = typeof token === "string" ? () => token : token;
    this.#socket = io(origin, {
      path: "/ws/scoreboard",
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      auth: (send) => send({ token: this.#token, boards }),
      autoConnect: false,
      forceNew: true,
      reconnectionDelay: MIN_RETRY_DELAY,
      timeout: 10_000,
    });
    this.#socket.on("connect", () => this.#connected());
    this.#socket.on("connect_error", (error) => this.#notConnected(error));
    this.#socket.on("disconnect", (reason) => this.#disconnected(reason));
    this.#socket.on("top_10_update", (message) => this.#show(message));
    this.#socket.on("score_update", ({ board, season, data }) =>
      this.#emit("score", board === undefined ? data : { board, season, ...data }),
    );
    this.#socket.on("board_update", ({ board, season, data }) =>
      this.#emit("settings", { board, season, settings: data }),
    );
    this.#renew();
  }

  /**
   * @param {keyof api.BoardEvents} name
   * @param {(value: any) => void} handler
   */
  on(name, handler) {
    // A new function, so that the same handler can be registered twice.
    /** @param {any} value */
    const call = (value) => handler(value);
    this.#handlers[name].add(call);
    return () => void this.#handlers[name].delete(call);
  }

  /** @param {() => void} handler */
  subscribe = (handler) => {
    const ends = [this.on("board", handler), this.on("state", handler)];
    return () => ends.forEach((end) => end());
  };

  /**
   * @param {string} userId
   * @param {number} value
   * @param {api.SubmitOptions} [options]
   * @returns {Promise<api.Receipt>}
   */
  async submit(userId, value, options = {}) {
    const { timestamp, nonce = newNonce(), timeout = SUBMIT_TIMEOUT, signal } = options;
    const { board, season, ticket } = options;
    if (signal?.aborted) throw reasonOf(signal);
    const update = {
      user_id: userId,
      score_value: value,
      timestamp: this.#timestamp(timestamp),
      nonce,
      ...(board !== undefined && { board }),
      ...(season !== undefined && { season }),
      ...(ticket !== undefined && { ticket }),
    };

    /** @type {unknown} */
    let cause;
    /** @type {(reason: unknown) => void} */
    let abort = () => {};
    const ended = new Promise((_, reject) => (abort = reject));
    /** @param {api.ErrorDetail} reason */
    const end = (reason) => abort(new ScoreboardError({ ...reason, update }, { cause }));
    const aborted = () => signal && abort(reasonOf(signal));
    const timer = setTimeout(() => end(timedOut(timeout)), timeout);
    signal?.addEventListener("abort", aborted);
    this.#pending.add(end);
    if (this.#end) end(this.#end);

    try {
      for (let refusals = 0; ; refusals++) {
        const response = await this.#acknowledgement(update, ended);
        if (response.status === 200) return response.body;
        const { receipt, ...detail } = response.body.error;
        // An earlier attempt counted, but its response was lost.
        if (receipt) return receipt;
        cause = new ScoreboardError({ ...detail, status: response.status, update });
        const isTokenInvalid = response.status === 401 && detail.code !== "not_permitted";
        if (!isTokenInvalid && response.status !== 429 && response.status < 500) throw cause;
        if (isTokenInvalid) this.#renew();
        await Promise.race([ended, sleep(retryDelay(refusals))]);
      }
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", aborted);
      this.#pending.delete(end);
    }
  }

  /** @param {string} [board] */
  async ticket(board) {
    const bearer = this.#token ?? (await this.#source());
    return (await post(this.#origin, "score/ticket", { bearer, body: { board } })).ticket;
  }

  close() {
    this.#finish("closed", { code: "closed", message: "The scoreboard was closed." });
  }

  /**
   * Sends the update until it is acknowledged; after each lost connection, sends it again.
   * @param {api.Update} update
   * @param {Promise<any>} ended
   */
  async #acknowledgement(update, ended) {
    for (;;) {
      await Promise.race([ended, this.#live()]);
      const response = await Promise.race([ended, this.#send(update)]);
      if (response) return response;
    }
  }

  /** @returns {Promise<void> | void} */
  #live() {
    if (this.#socket.connected) return;
    return new Promise((resolve) => this.#socket.once("connect", resolve));
  }

  /**
   * Resolves to the acknowledgement, or to undefined if this connection cannot deliver it.
   * @param {api.Update} update
   */
  #send(update) {
    const sentOn = this.#socket.id;
    return new Promise((resolve) => {
      this.#socket.timeout(ACKNOWLEDGEMENT_TIMEOUT).emit(
        "update_score",
        update,
        /** @param {unknown} error @param {unknown} response */ (error, response) => {
          resolve(error ? undefined : response);
          // A connection can be dead although neither side has noticed.
          if (error && this.#socket.connected && this.#socket.id === sentOn) this.#reconnect();
        },
      );
    });
  }

  /**
   * Returns a timestamp later than those before, also within the same millisecond: with the policy
   * `latest`, the newest timestamp sets the score, and a retry can arrive after a later update.
   * @param {Date | string} [given]
   */
  #timestamp(given) {
    if (given === undefined) {
      this.#lastTimestamp = Math.max(Date.now(), this.#lastTimestamp + 1);
      given = new Date(this.#lastTimestamp);
    }
    return typeof given === "string" ? given : given.toISOString();
  }

  /** Gets a newer token and connects with it. */
  async #renew() {
    if (this.#renewing || this.#end) return;
    this.#renewing = true;
    clearTimeout(this.#timer);
    try {
      const stale = this.#token;
      this.#token = await this.#source(stale);
      if (this.#end) return;
      if (this.#token !== stale) this.#renewAt = Date.now() + freshFor(this.#token);
      if (this.#token !== stale || !this.#socket.connected) this.#reconnect();
    } catch (error) {
      this.#tokenFailed(asScoreboardError(error));
    } finally {
      this.#renewing = false;
    }
  }

  #reconnect() {
    this.#socket.disconnect().connect();
  }

  /** @param {ScoreboardError} error */
  #tokenFailed(error) {
    if (this.#end) return;
    const { status = 0 } = error;
    if (status >= 400 && status < 500 && status !== 429) return this.#refuse(error);
    this.#failed(error, () => this.#renew());
  }

  #connected() {
    this.#refusals = this.#failures = 0;
    clearTimeout(this.#timer);
    const left = this.#renewAt - Date.now();
    if (left < Infinity) this.#after(left, () => this.#renew());
    this.#setState("live");
  }

  /** @param {Error & {data?: any}} error */
  #notConnected({ data, message }) {
    if (this.#socket.active) {
      // Socket.IO reconnects automatically.
      this.#setState("offline");
      this.#emit("error", asScoreboardError({ message }));
      return;
    }
    const refusal = new ScoreboardError({ message, code: "refused", ...data });
    if (TEMPORARY.includes(refusal.code)) {
      this.#failed(refusal, () => this.#socket.connect());
    } else if (this.#refusals++) {
      this.#refuse(refusal);
    } else {
      this.#renew();
    }
  }

  /** @param {string} reason */
  #disconnected(reason) {
    if (this.#end) return;
    this.#setState("connecting");
    // The token has expired or was revoked. Otherwise this client closed the connection, or
    // Socket.IO reconnects automatically.
    if (reason === "io server disconnect") this.#renew();
  }

  /**
   * @param {ScoreboardError} error
   * @param {() => void} retry
   */
  #failed(error, retry) {
    this.#after(retryDelay(this.#failures++), retry);
    if (!this.#socket.connected) this.#setState("offline");
    this.#emit("error", error);
  }

  /** @param {ScoreboardError} error */
  #refuse(error) {
    this.#finish("refused", error);
    this.#emit("error", error);
  }

  /**
   * @param {api.State} state
   * @param {api.ErrorDetail} reason
   */
  #finish(state, { code, message, status }) {
    if (this.#end && state !== "closed") return;
    this.#end ??= { code, message, status };
    clearTimeout(this.#timer);
    this.#socket.disconnect();
    this.#pending.forEach((end) => end({ code, message, status }));
    this.#setState(state);
  }

  /**
   * @param {number} milliseconds
   * @param {() => void} action
   */
  #after(milliseconds, action) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(action, Math.min(milliseconds, MAX_TIMER_DELAY));
  }

  /** @param {{board?: string, season: number, data: {top_10_scores: any[]}}} message */
  #show({ board, season, data }) {
    const text = JSON.stringify([season, data]);
    if (text === this.#texts.get(board)) return;
    this.#texts.set(board, text);
    const entries = Object.freeze(data.top_10_scores);
    if (board === undefined) {
      this.board = entries;
      this.#emit("board", entries);
    } else {
      const list = Object.freeze({ board, season, entries });
      this.boards = Object.freeze({ ...this.boards, [board]: list });
      this.#emit("board", list);
    }
  }

  /** @param {api.State} state */
  #setState(state) {
    if (state === this.state) return;
    this.state = state;
    this.#emit("state", state);
  }

  /**
   * @param {keyof api.BoardEvents} name
   * @param {unknown} value
   */
  #emit(name, value) {
    for (const handler of [...this.#handlers[name]]) {
      try {
        handler(value);
      } catch (error) {
        // Report the error of a handler as uncaught, and still call the other handlers.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

/**
 * @param {string} origin
 * @param {api.Options & Partial<api.BoardOptions>} [options]
 * @returns {any} an api.Scoreboard, or api.Scoreboards if the options name boards
 */
export function connect(origin, options = {}) {
  return new LiveScoreboard(origin, options);
}

/** Returns a unique identifier of an update. It need not be hard to guess. */
function newNonce() {
  const random = () => Math.random().toString(36).slice(2);
  return `${Date.now().toString(36)}-${random()}${random()}`;
}

/**
 * Returns for how many milliseconds a new token can be used. Uses only the times in the token,
 * because the local clock may be wrong.
 * @param {string} token
 */
function freshFor(token) {
  try {
    const { iat, exp } = JSON.parse(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")));
    const lifetime = (exp - iat) * 1000;
    return lifetime > 0 ? lifetime - Math.min(lifetime / 10, 30_000) : Infinity;
  } catch {
    return Infinity;
  }
}

/**
 * Returns the reason of the abort; some supported browsers have no `signal.reason`.
 * @param {AbortSignal} signal
 */
function reasonOf(signal) {
  return signal.reason ?? new DOMException("The submit was aborted.", "AbortError");
}

/** @param {number} milliseconds */
function timedOut(milliseconds) {
  const message = `There was no receipt within ${milliseconds / 1000} s.`;
  return { code: "timeout", message };
}

/**
 * Returns how many milliseconds to wait after so many failures.
 * @param {number} failures
 */
function retryDelay(failures) {
  return Math.min(MIN_RETRY_DELAY * 2 ** failures, MAX_RETRY_DELAY) * (0.5 + Math.random() / 2);
}

/** @param {number} milliseconds */
function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
