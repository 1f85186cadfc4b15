/** The anomaly flags (`marks` in the API), and moderation of the flagged users. */

import { confirm } from "./ask.js";
import { button, element, setRows, time } from "./element.js";
import { showScores } from "./scores.js";

const RULES = {
  jump: "A jump",
  refusals: "Many refusals",
  users_per_address: "Many users at one address",
  regularity: "Machine-like regularity",
};

/** The moderation actions, each with its reverse and with texts for the admin. */
const ACTS = {
  hide: {
    label: "Hide",
    warning: "This hides the user from the board at once. New scores still count, and the user can be restored.",
    done: (name) => `${name} is off the board. New scores still count.`,
  },
  restore: { label: "Restore", done: (name) => `${name} is back on the board.` },
  suspend: {
    label: "Suspend",
    warning: "This ends all sessions of the user at once. The user cannot sign in until reinstated, and stays on the board.",
    done: (name) => `${name} is suspended. All sessions have ended.`,
  },
  reinstate: { label: "Reinstate", done: (name) => `${name} may sign in again.` },
};

export class Marks {
  #shown = "";

  /**
   * @param {(name: string) => HTMLElement} part
   * @param {import("./session.js").Session} session
   * @param {() => void} onChange called after an action
   * @param {(error: Error) => void} onError
   */
  constructor(part, session, onChange, onError) {
    this.part = part;
    this.session = session;
    this.onChange = onChange;
    this.onError = onError;
  }

  /** @param {{marks: object[]}} body of GET /api/admin/marks */
  show({ marks }) {
    const text = JSON.stringify(marks);
    if (text !== this.#shown) {
      this.#shown = text;
      setRows(this.part("marks"), marks.map((mark) => this.#row(mark)));
      this.part("no-marks").hidden = marks.length > 0;
    }
  }

  #row(mark) {
    const states = [mark.hidden && "hidden", mark.suspended && "suspended"].filter(Boolean);
    const cell = (...content) => element("td", { role: "cell" }, ...content);
    return element(
      "tr",
      { role: "row" },
      element(
        "th",
        { scope: "row", role: "rowheader" },
        element("bdi", { class: "name" }, mark.username),
        ...states.map((state) => element("span", { class: "badge warning" }, state)),
      ),
      cell(element("b", {}, RULES[mark.rule] ?? mark.rule), `: ${mark.detail}`),
      cell(time(mark.created_at)),
      cell(
        element(
          "div",
          { class: "buttons" },
          this.#button(mark, mark.hidden ? "restore" : "hide", "show"),
          this.#button(mark, mark.suspended ? "reinstate" : "suspend", "sign-in"),
          button("Scores…", () => this.#scores(mark), {
            "aria-label": `Scores of ${mark.username}`,
            "data-key": key(mark, "scores"),
          }),
        ),
      ),
    );
  }

  /** @param {string} group the same for the button of the reverse action */
  #button(mark, act, group) {
    return button(ACTS[act].label, () => this.#moderate(mark, act), {
      "aria-label": `${ACTS[act].label} ${mark.username}`,
      "data-key": key(mark, group),
    });
  }

  async #moderate(mark, act) {
    const { label, warning, done } = ACTS[act];
    const outcome = this.part("outcome");
    outcome.textContent = "";
    const run = async () => {
      try {
        await this.session.post(`/api/admin/users/${encodeURIComponent(mark.user_id)}/${act}`);
      } catch (error) {
        this.onError(error);
        throw error;
      }
      outcome.textContent = done(mark.username);
      this.onChange();
    };
    if (warning) {
      await confirm({ title: `${label} ${mark.username}?`, text: warning, act: label, run });
      return;
    }
    try {
      await run();
    } catch (error) {
      outcome.textContent = `${label} ${mark.username}: ${error.message}`;
    }
  }

  #scores(mark) {
    this.part("outcome").textContent = "";
    showScores(this.session, mark, this.onError);
  }
}

function key(mark, button) {
  return [mark.user_id, mark.rule, mark.hour, button].join(" ");
}
