/** Scores typed by hand, and the history of a user's scores, which can be voided and restored. */

import { scoreText } from "../board/table.js";
import { ago, button, element, nameOf, setRows } from "./element.js";

const PAGE_SIZE = 20;
const MAX_LATEST = 20;
const MAX_SUGGESTIONS = 8;
const SEARCH_DELAY = 150; // milliseconds
// Hours, minutes and seconds of a time such as 1:23.456.
const TIME = /^(?:(?:(\d+):)?(\d{1,2}):)?(\d{1,2}(?:[.,]\d{1,3})?)$/;

export class Scores {
  #boards = [];
  #user = null;
  #scores = [];
  #next = null;
  #pages = 0;
  #request = 0;
  #shown = "";
  #timer = 0;

  /**
   * @param {(name: string) => HTMLElement} part
   * @param {import("./app.js").App} app
   */
  constructor(part, app) {
    this.part = part;
    this.app = app;
    this.form = part("score-form");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    part("score-name").addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#suggest(), SEARCH_DELAY);
    });
    part("score-board").addEventListener("change", () => {
      this.#describe();
      this.#reload();
    });
    part("score-older").addEventListener("click", () => this.#loadPage(this.#next));
  }

  /** @param {string} [userId] the user whose history is shown */
  async open(userId) {
    this.#scores = [];
    this.#next = null;
    this.#pages = 0;
    this.#user = null;
    this.#draw();
    if (!userId) {
      return;
    }
    try {
      const user = await this.app.session.get(`/api/admin/users/${encodeURIComponent(userId)}`);
      this.#user = user;
      this.part("score-name").value = user.username;
      await this.#reload();
    } catch (error) {
      this.app.fail(error);
    }
  }

  async load() {
    const { boards } = await this.app.session.get("/api/boards");
    const own = boards.filter(({ source }) => source === null);
    if (JSON.stringify(own.map(key)) !== JSON.stringify(this.#boards.map(key))) {
      const control = this.part("score-board");
      const value = control.value || "main";
      const options = own.map(({ board_id, title }) => element("option", { value: board_id }, title));
      control.replaceChildren(...options);
      control.value = own.some(({ board_id }) => board_id === value) ? value : own[0]?.board_id;
    }
    this.#boards = own;
    this.#describe();
    if (this.#user && this.#pages <= 1) {
      await this.#loadPage();
    } else if (!this.#user) {
      await this.app.sections.log.read();
      this.#drawLatest();
    }
  }

  get #board() {
    return this.#boards.find(({ board_id }) => board_id === this.part("score-board").value);
  }

  /** Describe what a typed score does, by the rule of the board. */
  #describe() {
    const board = this.#board;
    const policy = board?.policy ?? "latest";
    this.part("score-mode").closest("label").hidden = policy !== "latest";
    this.part("score-hint").textContent = {
      latest: "",
      best: "Counts only if it is better than the score so far.",
      total: "Is added to the score so far.",
    }[policy];
    this.part("score-value").placeholder = board?.format === "time" ? "1:23.456" : "120";
  }

  async #suggest() {
    const text = this.part("score-name").value.trim();
    if (!text) {
      this.#select(null);
      return;
    }
    try {
      const query = new URLSearchParams({ query: text, limit: String(MAX_SUGGESTIONS) });
      const { users } = await this.app.session.get(`/api/admin/users?${query}`);
      if (text !== this.part("score-name").value.trim()) {
        return; // the text has changed since
      }
      const options = users.map(({ username }) => element("option", { value: username }));
      this.part("score-names").replaceChildren(...options);
      this.#select(users.find(({ username }) => username === text) ?? null);
    } catch (error) {
      this.app.fail(error);
    }
  }

  /** Show the history of this user. The address of the page follows without a new entry. */
  #select(user) {
    if (user?.user_id === this.#user?.user_id) {
      return;
    }
    history.replaceState(null, "", user ? `#scores/${user.user_id}` : "#scores");
    this.#user = user;
    this.#reload();
  }

  #reload() {
    this.#scores = [];
    this.#next = null;
    this.#pages = 0;
    this.#draw();
    return this.#user ? this.#loadPage() : undefined;
  }

  /** @param {string | null} [cursor] the `next` of the previous page */
  async #loadPage(cursor) {
    const request = (this.#request += 1);
    const query = new URLSearchParams({ limit: String(PAGE_SIZE) });
    const board = this.part("score-board").value;
    if (board && board !== "main") {
      query.set("board", board);
    }
    if (cursor) {
      query.set("cursor", cursor);
    }
    const path = `/api/users/${encodeURIComponent(this.#user.user_id)}/scores?${query}`;
    try {
      const { scores, next } = await this.app.session.get(path);
      if (request !== this.#request) {
        return; // a newer request was sent
      }
      this.#scores = [...(cursor ? this.#scores : []), ...scores];
      this.#next = next;
      this.#pages = cursor ? this.#pages + 1 : 1;
      this.#draw();
    } catch (error) {
      this.app.fail(error);
    }
  }

  #draw() {
    const user = this.#user;
    this.part("history").hidden = !user;
    this.part("latest").hidden = Boolean(user);
    this.part("score-older").hidden = !this.#next;
    if (!user) {
      return;
    }
    const link = element("a", { href: `#people/${user.user_id}` }, nameOf(user.username));
    this.part("history-name").replaceChildren("Scores of ", link);
    const text = JSON.stringify([user.user_id, this.#board?.board_id, this.#scores]);
    if (text !== this.#shown) {
      this.#shown = text;
      setRows(this.part("history-table"), this.#scores.map((score) => this.#row(score)));
    }
    this.part("history-empty").hidden = !this.#pages || this.#scores.length > 0;
  }

  /** Show the latest scores of all users, each with a link to those of its user. */
  #drawLatest() {
    const { log } = this.app.sections;
    const rows = log.scores(MAX_LATEST).map((line) =>
      element(
        "tr",
        {},
        element("td", { class: "nowrap" }, ago(line.time)),
        element("td", {}, ...log.who(line.user_id, "scores")),
        element("td", { class: "number" }, scoreText(line.score_value)),
        element("td", { class: "by" }, ...log.by(line)),
      ),
    );
    setRows(this.part("latest-table"), rows);
    this.part("latest-none").hidden = rows.length > 0;
  }

  #row(score) {
    const format = this.#board?.format;
    const number = (value) => element("td", { class: "number" }, scoreText(value, format));
    const act = score.voided_at ? "Restore" : "Void";
    const text = scoreText(score.score_value, format);
    const control = button(act, () => this.#change(score, act, text), {
      "aria-label": `${act} the score of ${text}, number ${score.score_id}`,
      "data-key": `score ${score.score_id}`,
    });
    const effect = score.voided_at ? "voided" : score.applied ? "counted" : "no change";
    return element(
      "tr",
      score.voided_at ? { class: "voided" } : {},
      element("td", { class: "nowrap" }, ago(score.created_at)),
      number(score.score_value),
      number(score.score),
      element("td", { class: "effect" }, element("span", { class: score.voided_at ? "chip warning" : "muted" }, effect)),
      element("td", { class: "act" }, control),
    );
  }

  #change(score, act, text) {
    const path = `/api/admin/scores/${score.score_id}`;
    const reason = this.part("void-reason").value;
    const acts = {
      Void: { run: () => this.app.session.request("POST", `${path}/void`, { reason }), text: `The score of ${text} is void.` },
      Restore: { run: () => this.app.session.request("POST", `${path}/restore`), text: `The score of ${text} counts again.` },
    };
    const { run, text: done } = acts[act];
    return this.app.act(run, done, acts[act === "Void" ? "Restore" : "Void"]);
  }

  async #submit() {
    const board = this.#board;
    const input = this.part("score-value");
    const value = parsed(input.value, board?.format);
    const problem = this.part("score-problem");
    problem.textContent = "";
    if (value === null) {
      problem.textContent =
        board?.format === "time" ? "Type a time such as 1:23.456." : "Type a number such as 120.";
      input.focus();
      return;
    }
    const username = this.part("score-name").value.trim();
    const isChange = board?.policy === "latest" && this.part("score-mode").value === "change";
    const body = {
      username,
      ...(board && board.board_id !== "main" ? { board: board.board_id } : {}),
      [isChange ? "change" : "score_value"]: value,
      reason: this.part("score-reason").value,
    };
    const submit = this.form.querySelector("button");
    submit.disabled = true;
    try {
      const receipt = await this.app.run(() => this.app.session.request("POST", "/api/admin/scores", body));
      input.value = "";
      const total = scoreText(receipt.score, board?.format);
      const undo = {
        run: () =>
          this.app.session.request("POST", `/api/admin/scores/${receipt.score_id}/void`, { reason: "undone" }),
        text: `The score of ${username} is void.`,
      };
      this.app.done(`${username} has ${total} on ${board?.title ?? "the board"}.`, undo);
      this.part("score-name").focus();
      this.part("score-name").select();
    } catch (error) {
      problem.textContent = error.message;
    } finally {
      submit.disabled = false;
    }
  }
}

function key({ board_id, title }) {
  return [board_id, title];
}

/**
 * @param {string} text
 * @param {string} [format] of the board
 * @returns {number | null} the value, null if it is none
 */
function parsed(text, format) {
  const trimmed = text.trim();
  if (format === "time") {
    const match = TIME.exec(trimmed);
    if (!match) {
      return null;
    }
    const [hours, minutes, seconds] = match.slice(1).map((each) => Number((each ?? "0").replace(",", ".")));
    return Math.round(((hours * 60 + minutes) * 60 + seconds) * 1000);
  }
  const value = Number(trimmed.replace("−", "-").replace(/[\s\u202f](?=\d{3})/g, ""));
  return trimmed && Number.isFinite(value) ? value : null;
}
