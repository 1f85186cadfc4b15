/** A dialog with a user's newest scores, each of which can be voided. */

import { scoreText } from "../board/table.js";
import { confirm, showDialog } from "./ask.js";
import { button, element, setRows, time } from "./element.js";

const PAGE_SIZE = 20;

/**
 * @param {import("./session.js").Session} session
 * @param {{user_id: string, username: string}} user
 * @param {(error: Error) => void} onError
 */
export function showScores(session, user, onError) {
  new Scores(session, user, onError).load();
}

class Scores {
  #scores = [];
  #next = null;
  #request = 0;

  constructor(session, user, onError) {
    this.session = session;
    this.user = user;
    this.onError = onError;
    this.outcome = element("p", { class: "outcome", role: "status" }, "Loading…");
    this.problem = element("p", { class: "problem", role: "alert" });
    this.older = button("Show older scores", () => this.load(this.#next));
    this.older.hidden = true;
    this.table = scoreTable(user.username);
    const region = { class: "scroll", tabindex: 0, role: "region", "aria-label": "Scores" };
    this.dialog = showDialog(
      `Scores of ${user.username}`,
      this.outcome,
      this.problem,
      element("div", region, this.table),
      element("div", { class: "buttons" }, this.older, button("Close", () => this.dialog.close())),
    );
  }

  /** @param {string | null} cursor the `next` of the previous page */
  async load(cursor = null) {
    const path = `/api/users/${encodeURIComponent(this.user.user_id)}/scores?limit=${PAGE_SIZE}`;
    const request = (this.#request += 1);
    this.problem.textContent = "";
    try {
      const more = cursor ? `&cursor=${encodeURIComponent(cursor)}` : "";
      const { scores, next } = await this.session.get(path + more);
      if (request !== this.#request) {
        return; // a newer request was sent
      }
      this.#scores = [...(cursor ? this.#scores : []), ...scores];
      this.#next = next;
      this.outcome.textContent = this.#scores.length ? "" : "No scores.";
    } catch (error) {
      this.outcome.textContent = "";
      this.problem.textContent = error.message;
      this.onError(error);
    }
    this.#draw();
  }

  #draw() {
    setRows(this.table, this.#scores.map((score) => this.#row(score)));
    this.older.hidden = !this.#next;
  }

  #row(score) {
    const number = (value) => element("td", { class: "number" }, scoreText(value));
    return element(
      "tr",
      {},
      element("td", {}, time(score.timestamp)),
      number(score.score_value),
      element("td", {}, ...(score.voided_at ? [] : [this.#voidButton(score)])),
      number(score.score),
      element("td", {}, state(score)),
    );
  }

  #voidButton(score) {
    const value = scoreText(score.score_value);
    const label = `Void the score of ${value}, number ${score.score_id}`;
    return button("Void", () => this.#void(score, value), { "aria-label": label });
  }

  async #void(score, value) {
    await confirm({
      title: `Void the score of ${value}?`,
      text: `It will no longer count for ${this.user.username}; the previous score will count again. This cannot be undone.`,
      act: "Void the score",
      reason: true,
      run: async (reason) => {
        try {
          await this.session.post(`/api/admin/scores/${score.score_id}/void`, { reason });
        } catch (error) {
          this.onError(error);
          throw error;
        }
        await this.load();
        this.outcome.textContent = `The score of ${value} is void.`;
      },
    });
  }
}

function state(score) {
  if (score.voided_at) {
    return "voided";
  }
  return score.applied ? "set the score" : "did not change the score";
}

function scoreTable(username) {
  const heads = [
    ["Timestamp"],
    ["Value", "number"],
    ["Moderation"],
    ["Score after it", "number"],
    ["Effect"],
  ];
  const cells = heads.map(([text, kind]) =>
    element("th", { scope: "col", ...(kind ? { class: kind } : {}) }, text),
  );
  return element(
    "table",
    { hidden: "" },
    element("caption", {}, `Updates of ${username}, newest first`),
    element("thead", {}, element("tr", {}, ...cells)),
    element("tbody"),
  );
}
