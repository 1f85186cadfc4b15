/** A bar chart (SVG) with stacked bars over time, a legend and a table. */

import { element, setRows, svgElement } from "./element.js";

const HEIGHT = 180;
// Distances between the times of the axis, in minutes.
const MARKS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360];
const MARK_WIDTH = 70; // pixels
const MARGIN = { top: 10, right: 4, bottom: 22, left: 44 };
let plots = 0;

/** @typedef {{name: string, tone: number, values: number[]}} Series */

export class Plot {
  #minutes = [];
  #series = [];
  #unit = "";
  #range = "";
  #id = `plot-${++plots}`;

  /**
   * @param {HTMLElement} figure
   * @param {string} title
   */
  constructor(figure, title) {
    this.title = title;
    this.caption = element("span", { class: "muted" });
    this.place = element("div", { class: "plot" });
    this.legend = element("ul", { class: "legend" });
    this.table = element(
      "table",
      {},
      element("caption", {}, `${title}; times without values are omitted`),
      element("thead"),
      element("tbody"),
    );
    this.nothing = element("p", { class: "muted" }, "None in this time.");
    const label = { class: "scroll", tabindex: 0, role: "region", "aria-label": `${title}, table` };
    figure.append(
      element("figcaption", {}, element("h3", {}, title), this.caption),
      this.place,
      this.legend,
      element(
        "details",
        {},
        element("summary", {}, "As a table"),
        element("div", label, this.table),
        this.nothing,
      ),
    );
    new ResizeObserver(() => this.#draw()).observe(this.place);
  }

  /**
   * @param {Date[]} minutes the start of each bar, oldest first; the last is still growing
   * @param {Series[]} series from the bottom of the stack up
   * @param {string} unit such as "per minute"
   * @param {string} range such as "15 min"
   */
  show(minutes, series, unit, range) {
    this.#minutes = minutes;
    this.#series = series;
    this.#unit = unit;
    this.#range = range;
    this.caption.textContent = unit;
    this.legend.replaceChildren(...series.map(legendEntry));
    this.#tabulate();
    this.#draw();
  }

  #totals() {
    return this.#minutes.map((_, i) => this.#series.reduce((sum, each) => sum + each.values[i], 0));
  }

  #draw() {
    const width = this.place.clientWidth;
    if (!width || !this.#minutes.length) {
      return;
    }
    const totals = this.#totals();
    const most = Math.max(...totals);
    const step = niceStep(most / 4);
    const top = Math.max(2, Math.ceil(most / step)) * step;
    const frame = {
      width: width - MARGIN.left - MARGIN.right,
      height: HEIGHT - MARGIN.top - MARGIN.bottom,
    };
    const y = (value) => frame.height - (value / top) * frame.height;
    const inner = svgElement(
      "g",
      { transform: `translate(${MARGIN.left} ${MARGIN.top})` },
      ...this.#vertical(frame, y, top, step),
      ...this.#horizontal(frame),
      ...this.#minutes.map((minute, i) => this.#bar(frame, y, minute, i)),
    );
    const names = { role: "img", "aria-labelledby": `${this.#id}-title ${this.#id}-desc` };
    const size = { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}` };
    const title = svgElement("title", { id: `${this.#id}-title` }, this.title);
    const description = svgElement("desc", { id: `${this.#id}-desc` }, this.#description(totals));
    this.place.replaceChildren(svgElement("svg", { ...names, ...size }, title, description, inner));
  }

  #description(totals) {
    const most = Math.max(...totals);
    const sum = totals.reduce((all, each) => all + each, 0);
    const at = clock(this.#minutes[totals.indexOf(most)]);
    const each = this.#series.map(({ name, values }) => `${name} ${values.reduce(add, 0)}`);
    return sum
      ? `${sum} in ${this.#range}: ${each.join(", ")}. At most ${most} ${this.#unit}, at ${at}.`
      : `None in ${this.#range}.`;
  }

  #vertical(frame, y, top, step) {
    const parts = [];
    for (let value = 0; value <= top; value += step) {
      const line = { x1: 0, x2: frame.width, y1: y(value), y2: y(value), class: "grid" };
      parts.push(svgElement("line", line));
      const label = { x: -8, y: y(value), class: "tick end" };
      parts.push(svgElement("text", label, value.toLocaleString()));
    }
    return parts;
  }

  #horizontal(frame) {
    const [first, second = first] = this.#minutes;
    const shown = ((second - first) / 60_000) * this.#minutes.length;
    const least = (shown * MARK_WIDTH) / frame.width;
    const every = MARKS.find((each) => each >= least) ?? MARKS.at(-1);
    const parts = [];
    this.#minutes.forEach((minute, i) => {
      const x = ((i + 0.5) / this.#minutes.length) * frame.width;
      if ((minute.getHours() * 60 + minute.getMinutes()) % every === 0 && x < frame.width - MARGIN.bottom) {
        const line = { x1: x, x2: x, y1: frame.height, y2: frame.height + 5, class: "mark" };
        parts.push(svgElement("line", line));
        parts.push(svgElement("text", { x, y: frame.height + 14, class: "tick" }, clock(minute)));
      }
    });
    return parts;
  }

  /** Return the bar of one minute, with a tooltip over the whole height. */
  #bar(frame, y, minute, i) {
    const wide = frame.width / this.#minutes.length;
    const gap = wide > 6 ? 2 : 1;
    const visible = this.#series.filter(({ values }) => values[i]);
    const lines = visible.map(({ name, values }) => `${values[i]} ${name}`);
    const running = i === this.#minutes.length - 1;
    const when = clock(minute) + (running ? ", so far" : "");
    const bar = svgElement("g", { class: running ? "running" : "whole" });
    bar.append(svgElement("title", {}, [when, ...(lines.length ? lines : ["none"])].join("\n")));
    const hover = { x: i * wide, y: 0, width: wide, height: frame.height, class: "hover" };
    bar.append(svgElement("rect", hover));
    let below = 0;
    for (const { values, tone } of visible) {
      const [from, to] = [y(below), y(below + values[i])];
      const rest = Math.max(from - to, 1);
      const size = { x: i * wide + gap / 2, y: from - rest, width: wide - gap, height: rest };
      bar.append(svgElement("rect", { ...size, class: `bar tone-${tone}` }));
      below += values[i];
    }
    return bar;
  }

  #tabulate() {
    const heads = ["Time", ...this.#series.map(({ name }) => name)];
    const cells = heads.map((name, i) =>
      element("th", { scope: "col", ...(i ? { class: "number" } : {}) }, name),
    );
    this.table.querySelector("thead").replaceChildren(element("tr", {}, ...cells));
    const totals = this.#totals();
    const some = [...this.#minutes.keys()].filter((i) => totals[i]).reverse();
    const number = (value) => element("td", { class: "number" }, value.toLocaleString());
    const rows = some.map((i) => {
      const head = element("th", { scope: "row" }, clock(this.#minutes[i]));
      return element("tr", {}, head, ...this.#series.map(({ values }) => number(values[i])));
    });
    setRows(this.table, rows);
    this.table.parentElement.hidden = rows.length === 0;
    this.nothing.hidden = rows.length > 0;
  }
}

function legendEntry({ name, tone, values }) {
  const swatch = svgElement(
    "svg",
    { width: 12, height: 12, "aria-hidden": "true" },
    svgElement("rect", { width: 12, height: 12, rx: 2, class: `bar tone-${tone}` }),
  );
  const sum = values.reduce(add, 0).toLocaleString();
  return element("li", {}, swatch, ` ${name} `, element("b", {}, sum));
}

/** Return the lowest of 1, 2, 5, 10, 20, ... that is at least `minimum`. */
function niceStep(minimum) {
  const power = 10 ** Math.floor(Math.log10(Math.max(minimum, 1)));
  return power * [1, 2, 5, 10].find((times) => times * power >= minimum);
}

function clock(minute) {
  return minute.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
}

function add(a, b) {
  return a + b;
}
