/** The marks of unusual activity, and moderating the users who have them. */

import { ask } from "./ask.js";
import { button, element, setRows, time } from "./element.js";
import { showScores } from "./scores.js";

const RULES = {
  jump: "A jump",
  refusals: "Many refusals",
  users_per_address: "Many users at one address",
  regularity: "As regular as a machine",
};

/** What can be done to a user: the act, the other way round, and what comes of each. */
const ACTS = {
  hide: {
    word: "Hide",
    warning: "This takes them off the board at once. Their scores go on counting, and they can be restored.",
    done: (name) => `${name} is off the board. New scores go on counting, unseen.`,
  },
  restore: { word: "Restore", done: (name) => `${name} is back on the board.` },
  suspend: {
    word: "Suspend",
    warning: "This ends all their sessions at once, and they cannot sign in until they are reinstated. It does not take them off the board.",
    done: (name) => `${name} is suspended: signed out everywhere, and refused from now on.`,
  },
  reinstate: { word: "Reinstate", done: (name) => `${name} may sign in again.` },
};

export class Marks {
  #shown = "";

  /**
   * @param {(name: string) => HTMLElement} part
   * @param {import("./session.js").Session} session
   * @param {() => void} onChange called when something was done
   * @param {(error: Error) => void} onError
   */
  constructor(part, session, onChange, onError) {
    this.part = part;
    this.session = session;
    this.onChange = onChange;
    this.onError = onError;
  }

  /** @param {{marks: object[]}} answer of GET /api/admin/marks */
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

  /** @param {string} place what it shares with the button of the act the other way round */
  #button(mark, act, place) {
    return button(ACTS[act].word, () => this.#moderate(mark, act), {
      "aria-label": `${ACTS[act].word} ${mark.username}`,
      "data-key": key(mark, place),
    });
  }

  async #moderate(mark, act) {
    const { word, warning, done } = ACTS[act];
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
      await ask({ title: `${word} ${mark.username}?`, text: warning, act: word, run });
      return;
    }
    try {
      await run();
    } catch (error) {
      outcome.textContent = `${word} ${mark.username}: ${error.message}`;
    }
  }

  #scores(mark) {
    this.part("outcome").textContent = "";
    showScores(this.session, mark, this.onError);
  }
}

function key(mark, place) {
  return [mark.user_id, mark.rule, mark.hour, place].join(" ");
}
