/** One board of the wall: its live data, and the list to show now. */

import { LiveBoard, rowOf } from "../board/live.js";
import { BoardTokens } from "../board/viewer.js";
import { Pager } from "./pager.js";
import { PODIUM } from "./places.js";
import { Steps } from "./steps.js";

export const TOP = 10;
const PLAYERS_INTERVALS = [2_000, 2_000]; // milliseconds

/** The data of one board. It stays connected while other boards are shown. */
export class Feed {
  /** @type {import("../board/connection.js").State} */
  state = { kind: "connecting" };
  #season = 0;

  /**
   * @param {{
   *   base: URL,
   *   id: string,
   *   api: import("../board/api.js").Api,
   *   viewer: import("../board/viewer.js").Viewer,
   *   session: import("../board/session.js").Session,
   *   onChange: (feed: Feed) => void,
   * }} options
   */
  constructor({ base, id, api, viewer, session, onChange }) {
    this.id = id;
    const path = `api/boards/${encodeURIComponent(id)}`;
    const read = (path) => (session.isSignedIn ? session.get(path) : api.get(path));
    const changed = () => onChange(this);
    this.steps = new Steps(changed);
    const mayTurn = () => this.steps.rows?.length === TOP && !this.steps.isRevealing;
    this.pager = new Pager((query) => read(`${path}/leaderboard${query}`), mayTurn, changed);
    this.live = new LiveBoard({
      base,
      id,
      tokens: new BoardTokens(api, path, () => (session.isSignedIn ? [viewer, session] : [viewer])),
      read: () => read(path),
      onState: (state) => this.#setState(state),
      onChange: changed,
      onMessage: (message) => this.#receive(message),
      playersIntervals: PLAYERS_INTERVALS,
    });
    this.onChange = onChange;
  }

  /** @returns {import("../board/live.js").Board | null} null until it is read */
  get board() {
    return this.live.board;
  }

  get isFrozen() {
    return this.board?.state === "frozen";
  }

  /** Whether there is such a board, as far as is known, and this viewer may watch it. */
  get isAvailable() {
    return this.state.kind !== "refused";
  }

  /** @returns {number} the number of users on the board */
  get players() {
    return Math.max(this.board?.players ?? 0, this.steps.rows?.length ?? 0);
  }

  /** @returns {import("../board/live.js").Row[] | null} the rows to show now, null if not known */
  rows() {
    const top = this.steps.rows;
    if (!this.board || !top) {
      return null;
    }
    const page = this.pager.rows;
    if (!page) {
      return top;
    }
    const podium = top.slice(0, PODIUM);
    const isOnPodium = (row) => podium.some(({ userId }) => userId === row.userId);
    return [...podium, ...page.filter((row) => !isOnPodium(row))];
  }

  /** @param {import("../board/connection.js").State} state */
  #setState(state) {
    this.state = state;
    if (state.kind === "refused") {
      this.live.clear();
      this.steps.clear();
      this.pager.reset();
    }
    this.onChange(this);
  }

  /** @param {{type: string, season: number, data: any}} message */
  #receive({ type, season, data }) {
    if (season !== this.#season) {
      this.#season = season;
      this.steps.clear();
      this.pager.reset();
    }
    if (type === "top_10_update") {
      // The list of a frozen board changes only where the organiser reveals a place.
      this.steps.add(data.top_10_scores.map(rowOf), this.isFrozen);
      if (this.isFrozen) {
        this.pager.reset();
      }
    }
  }
}
