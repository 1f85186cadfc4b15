/** Updates per minute, connections, processes, and the newest flags. */

import { ago, button, element, nameOf, setChildren, setRows } from "./element.js";
import { RULES } from "./people.js";
import { Plot } from "./plot.js";

// Times are in milliseconds.
const HOUR = 60 * 60_000;
// Without a response for this long, a process has probably ended.
const PROCESS_TIMEOUT = 60_000;
const OTHERS = "other reasons";
const TONES = 5;
const MAX_BARS = 60;
// The ranges to choose from, in minutes. One longer than the data is not offered.
const RANGES = { 15: "15 min", 60: "1 h", 1440: "24 h" };

export class Activity {
  /** By name: the newest overview of each process and its time. */
  #processes = new Map();
  /** The codes with their own colour, until the page is closed. */
  #tones = new Map();
  #minutes = [];
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
  }

  open() {}

  async load() {
    const { session } = this.app;
    const [overview, { marks }] = await Promise.all([
      session.get("/api/admin/overview"),
      session.get("/api/admin/marks"),
    ]);
    this.#add(overview);
    this.#drawFlags(marks);
  }

  #add(overview) {
    const now = Date.now();
    this.#processes.set(overview.process.name, { overview, at: now });
    for (const [name, { at }] of this.#processes) {
      if (now - at > HOUR) {
        this.#processes.delete(name);
      }
    }
    this.#minutes = overview.minutes.map(({ minute }) => minute);
    this.#drawRanges();
    this.#draw();
    this.#listProcesses(now);
  }

  #drawRanges() {
    const offered = Object.entries(RANGES).filter(([minutes]) => Number(minutes) <= this.#minutes.length);
    const buttons = offered.map(([minutes, label]) => {
      const act = () => {
        this.#range = Number(minutes);
        this.#drawRanges();
        this.#draw();
      };
      const pressed = String(Number(minutes) === this.#range);
      return button(label, act, { class: "chip", "aria-pressed": pressed, "data-key": `range ${minutes}` });
    });
    setChildren(this.part("ranges"), buttons);
  }

  /** Return the counts of all processes by minute: {accepted, refused: {code: count}}. */
  #sum(minutes) {
    const sums = new Map(minutes.map((minute) => [minute, { accepted: 0, refused: {} }]));
    for (const { overview } of this.#processes.values()) {
      for (const { minute, accepted, refused } of overview.minutes) {
        const sum = sums.get(minute);
        if (sum) {
          sum.accepted += accepted;
          addCounts(sum.refused, refused);
        }
      }
    }
    return minutes.map((minute) => sums.get(minute));
  }

  #draw() {
    const minutes = this.#minutes.slice(-this.#range);
    const { starts, counts, size } = grouped(minutes, this.#sum(minutes));
    const unit = size === 1 ? "per minute" : `per ${size} minutes`;
    const range = RANGES[this.#range] ?? `${minutes.length} min`;
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
    this.app.names.learn(marks);
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

  #listProcesses(now) {
    const alive = [...this.#processes.values()].filter(({ at }) => now - at <= PROCESS_TIMEOUT);
    const number = (value) => element("td", { class: "number" }, (value ?? 0).toLocaleString());
    const rows = alive.map(({ overview: { process, connections } }) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, process.dyno || process.name),
        element("td", {}, ago(process.since)),
        number(connections["socket.io"]),
        number(connections.websocket),
      ),
    );
    setRows(this.part("processes"), rows);
    this.#setNumber("connections", total(alive.map(({ overview }) => total(Object.values(overview.connections)))));
  }

  #setNumber(name, value) {
    this.part(name).textContent = value.toLocaleString();
  }
}

/** Return at most MAX_BARS groups of minutes: the start and the counts of each, and its size. */
function grouped(minutes, sums) {
  const size = Math.ceil(minutes.length / MAX_BARS) || 1;
  const starts = [];
  const counts = [];
  for (let i = 0; i < minutes.length; i += size) {
    const count = { accepted: 0, refused: {} };
    for (const each of sums.slice(i, i + size)) {
      count.accepted += each.accepted;
      addCounts(count.refused, each.refused);
    }
    starts.push(new Date(minutes[i]));
    counts.push(count);
  }
  return { starts, counts, size };
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
