/** One line of the board. */
export interface Entry {
  readonly user_id: string;
  readonly score: number;
}

/** An accepted update: the user, and the resulting score. */
export interface ScoreUpdate {
  readonly user_id: string;
  readonly new_score: number;
}

/** The server's response to an update, sent when the update is on disk. */
export interface Receipt {
  user_id: string;
  /** The user's score after the update. */
  score: number;
  score_id: number;
  created_at: string;
  /** Whether this update set the score. One older than the current score is only recorded. */
  applied: boolean;
  /** The board and its season in which the update counts, if the update named the board. */
  board?: string;
  season?: number;
}

/** An update as it is sent; every retry sends the same. */
export interface Update {
  user_id: string;
  score_value: number;
  timestamp: string;
  nonce: string;
  board?: string;
  season?: number;
  ticket?: string;
}

/** One line of a board that `connect` names. */
export interface NamedEntry extends Entry {
  readonly username: string;
  /** Equal scores have the same rank. */
  readonly rank: number;
}

/** The top 10 of a board in one season. */
export interface List {
  readonly board: string;
  readonly season: number;
  readonly entries: readonly NamedEntry[];
}

/** An accepted update that counts on this board, and the resulting score. */
export interface BoardScoreUpdate extends ScoreUpdate {
  readonly board: string;
  readonly season: number;
  readonly username: string;
}

/** A board whose settings, state or season have changed. */
export interface BoardUpdate {
  readonly board: string;
  readonly season: number;
  readonly settings: Board;
}

/** The board object of `GET /api/boards/{board}`. Times are in ISO 8601. */
export interface Board {
  readonly board_id: string;
  readonly title: string;
  /** The board whose updates count here, or null if updates are submitted to this board. */
  readonly source: string | null;
  readonly policy: "latest" | "best" | "total";
  /** `asc`: lower is better. */
  readonly order: "desc" | "asc";
  /** `time`: scores are milliseconds. */
  readonly format: "number" | "time";
  readonly min_score: number | null;
  readonly max_score: number | null;
  readonly submit: "player" | "scorer";
  readonly public: boolean;
  /** Players need a run ticket of this age. */
  readonly tickets: { readonly min_seconds: number } | null;
  readonly opens_at: string | null;
  readonly closes_at: string | null;
  /** From then on the board is shown as it was at that time. */
  readonly freezes_at: string | null;
  /** Since when the public sees the board as it was; null unless `state` is "frozen". */
  readonly frozen_at: string | null;
  readonly reset: {
    readonly every: "day" | "week" | "month";
    readonly on?: string | number;
    readonly at: string;
    readonly time_zone: string;
  } | null;
  readonly state: "open" | "closed" | "frozen" | "archived";
  readonly season: {
    readonly number: number;
    readonly starts_at: string;
    readonly ends_at: string | null;
  };
  readonly players: number;
}

/**
 * - `connecting`: connecting or reconnecting
 * - `live`: connected
 * - `offline`: the last attempt to connect failed; the client tries again automatically
 * - `refused`: the server refused the token and a newer one; the client does not try again
 * - `closed`: closed by `close()`
 */
export type State = "connecting" | "live" | "offline" | "refused" | "closed";

/**
 * Returns an access token. It is called once without an argument. It is called again with `stale`,
 * the last token it returned, when that token is about to expire or was refused; then it must
 * return a newer one.
 *
 * If it throws, it is called again after an increasing delay, unless the error has a `status` from
 * 400 to 499 other than 429: that is final, and the state becomes `refused`.
 */
export type TokenSource = (stale?: string) => string | Promise<string>;

export interface Options {
  /** An access token, or a function that returns one. The default is a read-only token. */
  token?: string | TokenSource;
}

export interface BoardOptions {
  /** The ids of the boards to watch, at most 20. */
  boards: readonly string[];
}

export interface SubmitOptions {
  /** The board to submit to. The default is `main`. */
  board?: string;
  /** The update is refused with `season_over` if this season of the board has ended. */
  season?: number;
  /** The ticket of the run, for boards with `tickets`. */
  ticket?: string;
  /** When the score was reached, as a Date or in ISO 8601. The default is now. */
  timestamp?: Date | string;
  /** Identifies this update: 8 to 64 characters of `A-Z a-z 0-9 _ -`. The default is random. */
  nonce?: string;
  /** How many milliseconds to retry. The default is 30,000. */
  timeout?: number;
  /** Stops retrying when it aborts; the promise rejects with its reason. */
  signal?: AbortSignal;
}

/** The value that each event passes to its handlers. */
export interface Events {
  /** The first board, and every changed one. */
  board: readonly Entry[];
  /** Every accepted update, also of users who are not on the board. */
  score: ScoreUpdate;
  state: State;
  /** Every failed attempt to connect or to get a token. */
  error: ScoreboardError;
}

/** The value that each event passes to its handlers if `connect` names boards. */
export interface BoardEvents {
  /** The first list of each board, and every changed one. A new season has a new list. */
  board: List;
  /** Every accepted update that counts on one of the boards, once for each board. */
  score: BoardScoreUpdate;
  /** Every change of a board's settings, state or season. */
  settings: BoardUpdate;
  state: State;
  /** Every failed attempt to connect or to get a token. */
  error: ScoreboardError;
}

export interface Scoreboard extends Connection<Events> {
  /** The top 10, highest first. The same array until it changes. */
  readonly board: readonly Entry[];
}

export interface Scoreboards extends Connection<BoardEvents> {
  /** The newest list of each board, by its id. The same object until one of them changes. */
  readonly boards: Readonly<Record<string, List | undefined>>;
}

export interface Connection<Values> {
  readonly state: State;

  /** Calls the handler for every such event; returns a function that ends the subscription. */
  on<Name extends keyof Values>(name: Name, handler: (value: Values[Name]) => void): () => void;

  /** Calls the handler when a list or `state` changes, for React's `useSyncExternalStore`. */
  subscribe(handler: () => void): () => void;

  /**
   * Submits a score and returns its receipt. The score counts once, however often it is sent.
   *
   * Rejects with a ScoreboardError: with the server's code if the server refuses the update or the
   * token, with `timeout` or `closed` if there was no response. In that case the update may or may
   * not have been recorded; `submit(userId, value, error.update)` continues with the same update.
   */
  submit(userId: string, value: number, options?: SubmitOptions): Promise<Receipt>;

  /**
   * Returns a run ticket of the signed-in user for a board, by default `main`. Call it when the run
   * starts, and pass the ticket to `submit`. Rejects with a ScoreboardError.
   */
  ticket(board?: string): Promise<string>;

  /** Closes the connection and rejects all pending submits. */
  close(): void;
}

/**
 * Connects to the scoreboard at this origin and reconnects until `close()`. With `boards` it watches
 * these boards; without, `main`, whose messages then have no names.
 */
export function connect(origin: string, options: Options & BoardOptions): Scoreboards;
export function connect(origin: string, options?: Options): Scoreboard;

/** A user who has signed in. */
export interface Session {
  readonly userId: string;
  /**
   * Returns the current access token, or a new one if it is about to expire. Pass it to `connect`.
   *
   * Rejects with `unreachable` if the server does not respond for some seconds; call it again then.
   * Only an error with `status` 401 means that the session has ended.
   */
  readonly token: (stale?: string) => Promise<string>;
  /** Ends the session and closes its connections. */
  signOut(): Promise<void>;
}

/** Signs in with name and password. Rejects with a ScoreboardError. */
export function signIn(origin: string, username: string, password: string): Promise<Session>;

/** An error. `code` is stable; `message` is a sentence for people. */
export class ScoreboardError extends Error {
  constructor(detail: ErrorDetail, options?: { cause?: unknown });
  /** A code of the server, or `timeout`, `closed`, `unreachable` or `signed_out`. */
  readonly code: string;
  /** The HTTP status of the response, if there was one. */
  readonly status: number | undefined;
  /** The errors of each field, if the server sent them. */
  readonly fields: Record<string, string[]> | undefined;
  /** The update without a receipt, as it was sent. */
  readonly update: Update | undefined;
}

export interface ErrorDetail {
  code: string;
  message: string;
  status?: number;
  fields?: Record<string, string[]>;
  update?: Update;
}
