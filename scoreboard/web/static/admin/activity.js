/** Updates per minute, connections, processes, and the newest flags. */

import { ago, button, element, nameOf, setChildren, setRows } from "./element.js";
import { RULES } from "./people.js";
import { Plot } from "./plot.js";

const OTHERS = "other reasons";
const TONES = 5;
// The ranges to choose from, in minutes.
const RANGES = { 15: "15 min", 60: "1 h", 1440: "24 h" };

export class Activity {
  /** The codes with their own colour, until the page is closed. */
  #tones = new Map();
  #range = 60;
  #flags = "";

  /**
   * @param {(name: string) => HTMLElement} part
   * @param {import("./app.js").App} app
   */
  constructor(part, app) {
    this.part = part;
    this.app = app;
    this.accepted = new Plot(part("accepted-plot"), "Accepted updates");
    this.refused = new Plot(part("refused-plot"), "Refused updates, by reason");
    this.#drawRanges();
  }

  open() {}

  async load() {
    const { session } = this.app;
    const range = this.#range;
    const hours = Math.ceil(range / 60);
    const [overview, { marks }] = await Promise.all([
      session.get(`/api/admin/overview?hours=${hours}`),
      session.get("/api/admin/marks"),
    ]);
    this.#drawFlags(marks);
    this.#listProcesses(overview.processes);
    this.#setNumber("connections", total(Object.values(overview.connections)));
    drawScope(this.part("activity-scope"), overview);
    if (range === this.#range) {
      this.#draw(overview);
    }
  }

  #drawRanges() {
    const buttons = Object.entries(RANGES).map(([minutes, label]) => {
      const act = () => {
        this.#range = Number(minutes);
        this.#drawRanges();
        this.app.poll();
      };
      const pressed = String(Number(minutes) === this.#range);
      return button(label, act, { class: "chip", "aria-pressed": pressed, "data-key": `range ${minutes}` });
    });
    setChildren(this.part("ranges"), buttons);
  }

  #draw({ minutes, step }) {
    const counts = minutes.slice(-this.#range / step);
    const starts = counts.map(({ minute }) => new Date(minute));
    const unit = step === 1 ? "per minute" : `per ${step} minutes`;
    const range = RANGES[this.#range];
    const accepted = counts.map((each) => each.accepted);
    const refused = counts.map((each) => total(Object.values(each.refused)));
    this.accepted.show(starts, [{ name: "accepted", tone: 0, values: accepted }], unit, range);
    this.refused.show(starts, this.#byCode(counts), unit, range);
    this.#setNumber("accepted", total(accepted));
    this.#setNumber("refused", total(refused));
    this.#setNumber("busiest", Math.max(0, ...accepted.map((each, i) => each + refused[i])));
    this.part("busiest-label").textContent = `Most ${unit}`;
  }

  /** Return a series for each code with its own colour, and one for all others. */
  #byCode(counts) {
    const sums = {};
    counts.forEach(({ refused }) => addCounts(sums, refused));
    const codes = Object.keys(sums).sort((a, b) => sums[b] - sums[a] || (a < b ? -1 : 1));
    for (const code of codes) {
      if (!this.#tones.has(code) && this.#tones.size < TONES) {
        this.#tones.set(code, this.#tones.size + 1);
      }
    }
    const own = [...this.#tones].filter(([code]) => code in sums);
    const series = own.map(([code, tone]) => ({
      name: words(code),
      tone,
      values: counts.map(({ refused }) => refused[code] ?? 0),
    }));
    const rest = codes.filter((code) => !this.#tones.has(code));
    if (rest.length) {
      const values = counts.map(({ refused }) => total(rest.map((code) => refused[code] ?? 0)));
      series.push({ name: `${OTHERS} (${rest.map(words).join(", ")})`, tone: TONES + 1, values });
    }
    return series;
  }

  #drawFlags(marks) {
    const text = JSON.stringify(marks);
    if (text === this.#flags) {
      return;
    }
    this.#flags = text;
    const rows = marks.map((mark) => {
      const link = { href: `#people/${mark.user_id}`, "data-key": `flag ${mark.user_id} ${mark.rule} ${mark.hour}` };
      const states = [mark.hidden && "hidden", mark.suspended && "suspended"].filter(Boolean);
      return element(
        "li",
        { class: "flag-row" },
        element(
          "div",
          { class: "name-cell" },
          element("a", { class: "who", ...link }, nameOf(mark.username)),
          ...states.map((state) => element("span", { class: "chip warning" }, state)),
        ),
        element("div", {}, element("b", {}, RULES[mark.rule] ?? mark.rule), `: ${mark.detail}`),
        element("div", { class: "muted" }, ago(mark.created_at)),
      );
    });
    setChildren(this.part("flags"), rows);
    this.part("no-flags").hidden = rows.length > 0;
  }

  #listProcesses(processes) {
    const number = (value) => element("td", { class: "number" }, (value ?? 0).toLocaleString());
    const rows = processes.map(({ name, dyno, since, connections }) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, dyno || name),
        element("td", {}, ago(since)),
        number(connections["socket.io"]),
        number(connections.websocket),
      ),
    );
    setRows(this.part("processes"), rows);
  }

  #setNumber(name, value) {
    this.part(name).textContent = value.toLocaleString();
  }
}

/**
 * Show that only one process is seen, if Redis does not answer.
 *
 * @param {HTMLElement} note
 * @param {{redis: string, process: {name: string, dyno: string}}} response
 */
export function drawScope(note, { redis, process }) {
  const text = `Redis does not answer: only the process ${process.dyno || process.name} is shown.`;
  note.textContent = redis === "failing" ? text : "";
  note.hidden = redis !== "failing";
}

function addCounts(sums, counts) {
  for (const [code, count] of Object.entries(counts)) {
    sums[code] = (sums[code] ?? 0) + count;
  }
}

function total(values) {
  return values.reduce((sum, each) => sum + each, 0);
}

function words(code) {
  return code.replaceAll("_", " ");
}
