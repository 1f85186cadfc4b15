/** The last 60 minutes and the connections: the sums of all processes that have responded. */

import { element, setRows, time } from "./element.js";
import { Plot } from "./plot.js";

// Times are in milliseconds.
const HOUR = 60 * 60_000;
// Without a response for this long, a process has probably ended.
const PROCESS_TIMEOUT = 60_000;
const OTHERS = "other codes";
const TONES = 5;

export class Overview {
  /** By name: the newest overview of each process and its time. */
  #processes = new Map();
  /** The codes with their own colour, until the page is closed. */
  #tones = new Map();

  /** @param {(name: string) => HTMLElement} part */
  constructor(part) {
    this.part = part;
    this.accepted = new Plot(part("accepted-plot"), "Accepted updates per minute", "updates / min");
    this.refused = new Plot(part("refused-plot"), "Refusals per minute, by code", "refusals / min");
  }

  /** @param {object} overview the body of GET /api/admin/overview */
  show(overview) {
    const now = Date.now();
    this.#processes.set(overview.process.name, { overview, at: now });
    for (const [name, { at }] of this.#processes) {
      if (now - at > HOUR) {
        this.#processes.delete(name);
      }
    }
    const minutes = overview.minutes.map(({ minute }) => minute);
    this.#plot(minutes, this.#sum(minutes));
    this.#listProcesses(now);
  }

  /** Return the counts of all processes by minute: {accepted, refused: {code: count}}. */
  #sum(minutes) {
    const sums = new Map(minutes.map((minute) => [minute, { accepted: 0, refused: {} }]));
    for (const { overview } of this.#processes.values()) {
      for (const { minute, accepted, refused } of overview.minutes) {
        const sum = sums.get(minute);
        if (sum) {
          sum.accepted += accepted;
          for (const [code, count] of Object.entries(refused)) {
            sum.refused[code] = (sum.refused[code] ?? 0) + count;
          }
        }
      }
    }
    return minutes.map((minute) => sums.get(minute));
  }

  #plot(minutes, counts) {
    const days = minutes.map((minute) => new Date(minute));
    const accepted = counts.map((each) => each.accepted);
    const refused = counts.map((each) => total(Object.values(each.refused)));
    this.accepted.show(days, [{ name: "accepted", tone: 0, values: accepted }]);
    this.refused.show(days, this.#byCode(counts));
    this.#setNumber("accepted", total(accepted));
    this.#setNumber("refused", total(refused));
    this.#setNumber("busiest", Math.max(...accepted.map((each, i) => each + refused[i])));
  }

  /** Return a series for each code with its own colour, and one for all others. */
  #byCode(counts) {
    const sums = {};
    for (const { refused } of counts) {
      for (const [code, count] of Object.entries(refused)) {
        sums[code] = (sums[code] ?? 0) + count;
      }
    }
    const codes = Object.keys(sums).sort((a, b) => sums[b] - sums[a] || (a < b ? -1 : 1));
    for (const code of codes) {
      if (!this.#tones.has(code) && this.#tones.size < TONES) {
        this.#tones.set(code, this.#tones.size + 1);
      }
    }
    const own = [...this.#tones].filter(([code]) => code in sums);
    const series = own.map(([name, tone]) => ({
      name,
      tone,
      values: counts.map(({ refused }) => refused[name] ?? 0),
    }));
    const rest = codes.filter((code) => !this.#tones.has(code));
    if (rest.length) {
      const values = counts.map(({ refused }) => total(rest.map((code) => refused[code] ?? 0)));
      series.push({ name: `${OTHERS} (${rest.join(", ")})`, tone: TONES + 1, values });
    }
    return series;
  }

  #listProcesses(now) {
    const alive = [...this.#processes.values()].filter(({ at }) => now - at <= PROCESS_TIMEOUT);
    const number = (value) => element("td", { class: "number" }, value.toLocaleString());
    const rows = alive.map(({ overview: { process, connections }, at }) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, process.dyno || process.name),
        element("td", {}, time(process.since)),
        number(connections["socket.io"]),
        number(connections.websocket),
        element("td", {}, now - at < 1000 ? "just now" : `${Math.round((now - at) / 1000)} s ago`),
      ),
    );
    setRows(this.part("processes"), rows);
    const all = alive.map(({ overview }) => total(Object.values(overview.connections)));
    this.#setNumber("connections", total(all));
  }

  #setNumber(name, value) {
    this.part(name).textContent = value.toLocaleString();
  }
}

function total(values) {
  return values.reduce((sum, each) => sum + each, 0);
}
