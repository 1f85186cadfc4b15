/** @import * as api from "./index.js" */
import { io } from "socket.io-client";
import { ScoreboardError, asScoreboardError } from "./errors.js";
import { viewer } from "./session.js";

// Milliseconds.
const GIVE_UP = 30_000;
const ACKNOWLEDGED_WITHIN = 5_000;
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 5_000;
const LONGEST_TIMER = 2 ** 31 - 1;

// Refusals that say nothing about the token.
const PASSING = ["server_error", "stopping", "too_many_connections"];

/** @implements {api.Scoreboard} */
class LiveScoreboard {
  /** @type {readonly api.Entry[]} */
  board = Object.freeze([]);
  /** @type {api.State} */
  state = "connecting";

  /** @type {Record<keyof api.Events, Set<(value: any) => void>>} */
  #handlers = { board: new Set(), score: new Set(), state: new Set(), error: new Set() };
  /** What rejects each submit that waits. @type {Set<(reason: api.ErrorDetail) => void>} */
  #waiting = new Set();
  /** Why nothing more comes. @type {api.ErrorDetail | undefined} */
  #end;
  #lastTimestamp = 0;
  #boardAsText = "";

  #source;
  /** @type {string | undefined} */
  #token;
  #renewAt = Infinity;
  #renewing = false;
  /** How often in a row a token was refused, and how often getting on failed. */
  #refusals = 0;
  #failures = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #socket;

  /**
   * @param {string} origin
   * @param {api.Options} options
   */
  constructor(origin, { token = viewer(origin) }) {
    this.#source = typeof token === "string" ? () => token : token;
    this.#socket = io(origin, {
      path: "/ws/scoreboard",
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      auth: (send) => send({ token: this.#token }),
      autoConnect: false,
      forceNew: true,
      reconnectionDelay: FIRST_PAUSE,
      timeout: 10_000,
    });
    this.#socket.on("connect", () => this.#connected());
    this.#socket.on("connect_error", (error) => this.#notConnected(error));
    this.#socket.on("disconnect", (reason) => this.#disconnected(reason));
    this.#socket.on("top_10_update", ({ data }) => this.#show(data.top_10_scores));
    this.#socket.on("score_update", ({ data }) => this.#tell("score", data));
    this.#renew();
  }

  /** @type {api.Scoreboard["on"]} */
  on(name, handler) {
    // A function of its own, so that a handler may be there twice.
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

  /** @type {api.Scoreboard["submit"]} */
  async submit(userId, value, { timestamp, nonce = newNonce(), timeout = GIVE_UP, signal } = {}) {
    if (signal?.aborted) throw reasonOf(signal);
    const update = {
      user_id: userId,
      score_value: value,
      timestamp: this.#timestamp(timestamp),
      nonce,
    };

    /** @type {unknown} */
    let cause;
    /** @type {(reason: unknown) => void} */
    let giveUp = () => {};
    const over = new Promise((_, reject) => (giveUp = reject));
    /** @param {api.ErrorDetail} reason */
    const end = (reason) => giveUp(new ScoreboardError({ ...reason, update }, { cause }));
    const aborted = () => signal && giveUp(reasonOf(signal));
    const timer = setTimeout(() => end(late(timeout)), timeout);
    signal?.addEventListener("abort", aborted);
    this.#waiting.add(end);
    if (this.#end) end(this.#end);

    try {
      for (let refusals = 0; ; refusals++) {
        const answer = await this.#acknowledgement(update, over);
        if (answer.status === 200) return answer.body;
        const { receipt, ...detail } = answer.body.error;
        // It was counted before, and the answer lost.
        if (receipt) return receipt;
        cause = new ScoreboardError({ ...detail, status: answer.status, update });
        const dead = answer.status === 401 && detail.code !== "not_permitted";
        if (!dead && answer.status !== 429 && answer.status < 500) throw cause;
        if (dead) this.#renew();
        await Promise.race([over, sleep(pause(refusals))]);
      }
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", aborted);
      this.#waiting.delete(end);
    }
  }

  close() {
    this.#finish("closed", { code: "closed", message: "The scoreboard was closed." });
  }

  /**
   * Sends the update, again after each lost connection, until there is an acknowledgement.
   * @param {api.Update} update
   * @param {Promise<any>} over
   */
  async #acknowledgement(update, over) {
    for (;;) {
      await Promise.race([over, this.#live()]);
      const answer = await Promise.race([over, this.#send(update)]);
      if (answer) return answer;
    }
  }

  /** @returns {Promise<void> | void} */
  #live() {
    if (this.#socket.connected) return;
    return new Promise((resolve) => this.#socket.once("connect", resolve));
  }

  /**
   * Resolves to the acknowledgement, or to nothing once this connection will not bring it.
   * @param {api.Update} update
   */
  #send(update) {
    const sentOn = this.#socket.id;
    return new Promise((resolve) => {
      this.#socket.timeout(ACKNOWLEDGED_WITHIN).emit(
        "update_score",
        update,
        /** @param {unknown} error @param {unknown} answer */ (error, answer) => {
          resolve(error ? undefined : answer);
          // A connection may be dead without either side being told.
          if (error && this.#socket.connected && this.#socket.id === sentOn) this.#reconnect();
        },
      );
    });
  }

  /**
   * Under `latest` the newest timestamp is the score: it is the last call's, also where two share
   * a millisecond and the first is sent again after the second.
   * @param {Date | string} [given]
   */
  #timestamp(given) {
    if (given === undefined) {
      this.#lastTimestamp = Math.max(Date.now(), this.#lastTimestamp + 1);
      given = new Date(this.#lastTimestamp);
    }
    return typeof given === "string" ? given : given.toISOString();
  }

  /** Gets a token that is newer than the present one, and connects with it. */
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
      this.#noToken(asScoreboardError(error));
    } finally {
      this.#renewing = false;
    }
  }

  #reconnect() {
    this.#socket.disconnect().connect();
  }

  /** @param {ScoreboardError} error */
  #noToken(error) {
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
    this.#become("live");
  }

  /** @param {Error & {data?: any}} error */
  #notConnected({ data, message }) {
    if (this.#socket.active) {
      // Socket.IO tries again by itself.
      this.#become("offline");
      this.#tell("error", asScoreboardError({ message }));
      return;
    }
    const refusal = new ScoreboardError({ message, code: "refused", ...data });
    if (PASSING.includes(refusal.code)) {
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
    this.#become("connecting");
    // The token counts no more. All else is our own doing, or Socket.IO comes back by itself.
    if (reason === "io server disconnect") this.#renew();
  }

  /**
   * @param {ScoreboardError} error
   * @param {() => void} again
   */
  #failed(error, again) {
    this.#after(pause(this.#failures++), again);
    if (!this.#socket.connected) this.#become("offline");
    this.#tell("error", error);
  }

  /** @param {ScoreboardError} error */
  #refuse(error) {
    this.#finish("refused", error);
    this.#tell("error", error);
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
    this.#waiting.forEach((end) => end({ code, message, status }));
    this.#become(state);
  }

  /**
   * @param {number} milliseconds
   * @param {() => void} act
   */
  #after(milliseconds, act) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(act, Math.min(milliseconds, LONGEST_TIMER));
  }

  /** @param {api.Entry[]} board */
  #show(board) {
    const text = JSON.stringify(board);
    if (text === this.#boardAsText) return;
    this.#boardAsText = text;
    this.board = Object.freeze(board);
    this.#tell("board", this.board);
  }

  /** @param {api.State} state */
  #become(state) {
    if (state === this.state) return;
    this.state = state;
    this.#tell("state", state);
  }

  /**
   * @template {keyof api.Events} Name
   * @param {Name} name
   * @param {api.Events[Name]} value
   */
  #tell(name, value) {
    for (const handler of [...this.#handlers[name]]) {
      try {
        handler(value);
      } catch (error) {
        // Theirs, not ours: reported as an uncaught one, and the others are called all the same.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

/** @type {typeof api.connect} */
export function connect(origin, options = {}) {
  return new LiveScoreboard(origin, options);
}

/** A name that no other update of this user has. It is no secret, and need not be hard to guess. */
function newNonce() {
  const random = () => Math.random().toString(36).slice(2);
  return `${Date.now().toString(36)}-${random()}${random()}`;
}

/**
 * How long a new token is fresh, by its own times alone: the clock here may be wrong.
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
 * Why it was aborted; some of the browsers that this supports do not say.
 * @param {AbortSignal} signal
 */
function reasonOf(signal) {
  return signal.reason ?? new DOMException("The submit was aborted.", "AbortError");
}

/** @param {number} milliseconds */
function late(milliseconds) {
  const message = `There was no receipt within ${milliseconds / 1000} s.`;
  return { code: "timeout", message };
}

/**
 * How long to wait after so many failures.
 * @param {number} failures
 */
function pause(failures) {
  return Math.min(FIRST_PAUSE * 2 ** failures, LONGEST_PAUSE) * (0.5 + Math.random() / 2);
}

/** @param {number} milliseconds */
function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
