/** What the page says about a board: its rule, its state, and the end of its season. */

/**
 * The board object of the API.
 *
 * @typedef {{
 *   board_id: string, title: string, source: string | null,
 *   policy: "latest" | "best" | "total", order: "desc" | "asc", format: "number" | "time",
 *   submit: "player" | "scorer", tickets?: object | null, players: number,
 *   public: boolean, opens_at: string | null, closes_at: string | null,
 *   frozen_at: string | null, state: "open" | "closed" | "frozen" | "archived",
 *   season: {number: number, starts_at: string, ends_at: string | null},
 * }} Board
 */

const times = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const dates = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "short" });

/**
 * @param {Board} board
 * @returns {string} the sentence that says which scores count
 */
export function ruleOf({ policy, order, format }) {
  const score = format === "time" ? "time" : "score";
  const counts = {
    latest: `Your latest ${score} counts`,
    best: `Your best ${score} counts`,
    total: `Your ${score}s add up`,
  };
  return `${counts[policy]}; ${order === "asc" ? "lower" : "higher"} is better.`;
}

/**
 * @param {Board} board
 * @param {number} now a time like Date.now
 * @returns {string} the sentence that explains a frozen list; empty for another state
 */
export function freezeOf({ state, frozen_at }, now) {
  if (state !== "frozen" || !frozen_at) {
    return "";
  }
  const at = new Date(frozen_at);
  const isToday = at.toDateString() === new Date(now).toDateString();
  const when = isToday ? times.format(at) : dates.format(at);
  return `The list was frozen ${isToday ? "at" : "on"} ${when}. Scores still count: the final order comes later.`;
}

/**
 * @param {Board} board
 * @param {number} now a time like Date.now
 * @returns {{text: string, until?: number, label?: string, time?: string}} the state, and the time
 *   to which it counts down; `label` and `time` are the two parts of such a text
 */
export function stateOf({ state, opens_at, closes_at, season }, now) {
  if (state === "archived") {
    return { text: "Archived" };
  }
  if (state === "frozen") {
    return { text: "Frozen", label: "The final order comes later" };
  }
  if (state === "closed") {
    const isEarly = opens_at && Date.parse(opens_at) > now;
    return { text: isEarly ? `Opens on ${dates.format(Date.parse(opens_at))}` : "Closed" };
  }
  const closesAt = closes_at ? Date.parse(closes_at) : Infinity;
  const endsAt = season.ends_at ? Date.parse(season.ends_at) : Infinity;
  const until = Math.min(closesAt, endsAt);
  if (until === Infinity) {
    return { text: season.number > 1 ? `Season ${season.number}` : "" };
  }
  const left = Math.ceil((until - now) / 1000);
  const isSeason = endsAt <= closesAt;
  if (left <= 0) {
    // By this clock; the server's next message says it.
    return { text: isSeason ? `Season ${season.number} has ended` : "Closed" };
  }
  const what = isSeason ? `Season ${season.number} ends` : "Closes";
  const [label, time] = [`${what} in`, durationText(left)];
  return { text: `${label} ${time}`, until, label, time };
}

/**
 * @param {number} seconds
 * @returns {string} for example "2 days, 04:12:33"
 */
function durationText(seconds) {
  const days = Math.floor(seconds / 86_400);
  const parts = [Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60, seconds % 60];
  const clock = parts.map((part) => String(part).padStart(2, "0")).join(":");
  return days ? `${days} ${days === 1 ? "day" : "days"}, ${clock}` : clock;
}

/** The line with the state of a board, and the countdown to its next change. */
export class StateLine {
  #timer = 0;

  /** @param {HTMLElement} element no live region: screen readers would read every second */
  constructor(element) {
    this.element = element;
  }

  /** @param {Board | null} board */
  show(board) {
    clearTimeout(this.#timer);
    const now = Date.now();
    const { text, until } = board ? stateOf(board, now) : { text: "" };
    if (this.element.textContent !== text) {
      this.element.textContent = text;
    }
    if (until) {
      this.#timer = setTimeout(() => this.show(board), (until - now) % 1000 || 1000);
    }
  }
}
