/** One line of the board. */
export interface Entry {
  readonly user_id: string;
  readonly score: number;
}

/** An accepted update: whose, and the score after it. */
export interface ScoreUpdate {
  readonly user_id: string;
  readonly new_score: number;
}

/** What the server says of an update once it is on disk. */
export interface Receipt {
  user_id: string;
  /** The user's score after the update. */
  score: number;
  score_id: number;
  created_at: string;
  /** Whether this update set the score; an older one than the score's is history only. */
  applied: boolean;
}

/** An update as it is sent, every time it is. */
export interface Update {
  user_id: string;
  score_value: number;
  timestamp: string;
  nonce: string;
}

/**
 * - `connecting`: not there yet, or on the way back
 * - `live`: connected
 * - `offline`: the last try to connect failed; the next one comes by itself
 * - `refused`: the server does not accept the token, nor a newer one; nothing comes by itself
 * - `closed`: by `close()`
 */
export type State = "connecting" | "live" | "offline" | "refused" | "closed";

/**
 * Returns an access token. It is called once at first and again with `stale`, the token it gave
 * last, when that one is about to expire or counts no more; a newer one is wanted then.
 *
 * What it throws is tried again, less and less often, unless it has a `status` from 400 to 499
 * (but 429): that is final, and the scoreboard `refused`.
 */
export type TokenSource = (stale?: string) => string | Promise<string>;

export interface Options {
  /** An access token, or where to get one. Without it: a token that may only watch. */
  token?: string | TokenSource;
}

export interface SubmitOptions {
  /** When the score was reached; by default now. A string is ISO 8601. */
  timestamp?: Date | string;
  /** The name of this update, 8 to 64 characters of `A-Z a-z 0-9 _ -`; by default a new one. */
  nonce?: string;
  /** How many milliseconds to keep trying; by default 30,000. */
  timeout?: number;
  /** Ends the trying when it aborts; the promise is rejected with its reason. */
  signal?: AbortSignal;
}

/** What each event hands to its handlers. */
export interface Events {
  /** The board, when it has changed, and once at first. */
  board: readonly Entry[];
  /** Every accepted update, on the board or not. */
  score: ScoreUpdate;
  state: State;
  /** Every try to connect, or to get a token, that failed. */
  error: ScoreboardError;
}

export interface Scoreboard {
  /** The top 10, highest first. The same array until it changes. */
  readonly board: readonly Entry[];
  readonly state: State;

  /** Calls the handler with every such event; returns the function that ends it. */
  on<Name extends keyof Events>(name: Name, handler: (value: Events[Name]) => void): () => void;

  /** Calls the handler when `board` or `state` has changed, as React's `useSyncExternalStore` asks. */
  subscribe(handler: () => void): () => void;

  /**
   * Submits a score; returns its receipt. However often it has to be sent for that, it counts once.
   *
   * Rejects with a ScoreboardError: with the server's code if it refuses the update or the token,
   * with `timeout` or `closed` if there was no answer until then. What was sent may then have been
   * counted or not; `submit(userId, value, error.update)` goes on with the very same update.
   */
  submit(userId: string, value: number, options?: SubmitOptions): Promise<Receipt>;

  /** Ends the connection, and everything that waits for it. */
  close(): void;
}

/** Connects to the scoreboard at this origin, and stays connected until `close()`. */
export function connect(origin: string, options?: Options): Scoreboard;

/** A user who has signed in. */
export interface Session {
  readonly userId: string;
  /**
   * For `connect`: the current access token, or a new one if it has gone stale.
   *
   * Rejects with `unreachable` if the server does not answer for some seconds: call it again. Only
   * with a `status` of 401 is the session over.
   */
  readonly token: (stale?: string) => Promise<string>;
  /** Ends the sign-in, everywhere it is in use. */
  signOut(): Promise<void>;
}

/** Signs in with name and password. Rejects with a ScoreboardError. */
export function signIn(origin: string, username: string, password: string): Promise<Session>;

/** What went wrong. `code` is stable, `message` is a sentence for people. */
export class ScoreboardError extends Error {
  constructor(detail: ErrorDetail, options?: { cause?: unknown });
  /** As the server has it, or one of ours: `timeout`, `closed`, `unreachable`, `signed_out`. */
  readonly code: string;
  /** The status that the server answered with, if it did. */
  readonly status: number | undefined;
  /** What is wrong with which field, if the server said so. */
  readonly fields: Record<string, string[]> | undefined;
  /** The update that has no receipt, as it was sent. */
  readonly update: Update | undefined;
}

export interface ErrorDetail {
  code: string;
  message: string;
  status?: number;
  fields?: Record<string, string[]>;
  update?: Update;
}
