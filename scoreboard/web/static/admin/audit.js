/** The newest lines of the audit log, merged from all processes that have responded. */

import { scoreText } from "../board/table.js";
import { element, setRows, time } from "./element.js";

const MAX_STORED_LINES = 1000;
const MAX_SHOWN_LINES = 100;
const FILTERS = {
  all: () => true,
  refused: (line) => line.event === "score_update" && line.status !== 200,
  acts: (line) => line.event !== "score_update" && line.event !== "auth",
  auth: (line) => line.event === "auth",
};

export class Audit {
  /** Newest first. */
  #lines = [];
  /** The `seq` of the newest line of each process. */
  #newest = new Map();
  /** The process that responded last. Each process has its own `seq`. */
  #process = null;

  /** @param {(name: string) => HTMLElement} part */
  constructor(part) {
    this.part = part;
    part("filter").addEventListener("change", () => this.#draw());
    this.#draw();
  }

  /** Return the path that returns the missing lines. */
  path() {
    const after = this.#newest.get(this.#process);
    return after
      ? `/api/admin/audit?after=${after}&process=${encodeURIComponent(this.#process)}`
      : "/api/admin/audit";
  }

  /** @param {{process: {name: string}, lines: object[]}} body */
  show({ process: { name }, lines }) {
    this.#process = name;
    const known = this.#newest.get(name) ?? 0;
    const fresh = lines.filter(({ seq }) => seq > known);
    if (fresh.length) {
      this.#newest.set(name, fresh[fresh.length - 1].seq);
      this.#lines.unshift(...fresh.reverse());
      this.#lines.sort((a, b) => (a.time < b.time ? 1 : a.time > b.time ? -1 : 0));
      this.#lines.length = Math.min(this.#lines.length, MAX_STORED_LINES);
      this.#draw();
    }
  }

  #draw() {
    const lines = this.#lines.filter(FILTERS[this.part("filter").value]).slice(0, MAX_SHOWN_LINES);
    setRows(this.part("audit"), lines.map(row));
    this.part("audit").parentElement.hidden = lines.length === 0;
    this.part("no-lines").hidden = lines.length > 0;
  }
}

function row(line) {
  const cell = (text, attributes) => element("td", attributes, text ?? "");
  return element(
    "tr",
    {},
    cell(time(line.time)),
    cell(eventOf(line), { class: "what" }),
    cell(line.user_id, { class: "id" }),
    cell(line.score_value == null ? "" : scoreText(line.score_value), { class: "number" }),
    cell(by(line), { class: "id" }),
    cell(`${line.door}, ${line.address}`),
    cell(line.latency_ms === undefined ? "" : `${line.latency_ms} ms`, { class: "number" }),
    cell(line.request_id, { class: "id" }),
  );
}

/** Return the event, with its kind as text, not only as a colour. */
function eventOf(line) {
  const event = document.createDocumentFragment();
  const add = (kind, label, more) => {
    event.append(element("span", { class: `badge ${kind}` }, label), more ? ` ${more}` : "");
  };
  if (line.event === "moderation") {
    const score = line.score_id === undefined ? "" : ` score ${line.score_id}`;
    add("act", "moderation", line.act + score + (line.reason ? `: ${line.reason}` : ""));
  } else if (line.event === "unusual_activity") {
    add("warning", "anomaly", `${line.rule}: ${line.detail}`);
  } else if (line.event === "auth") {
    const accepted = line.code === "accepted";
    add(accepted ? "accepted" : "refused", line.act, accepted ? "" : line.code);
  } else if (line.status === 200) {
    add("accepted", "accepted");
  } else {
    add("refused", "refused", `${line.status} ${line.code}`);
  }
  return event;
}

function by(line) {
  if (line.event === "auth" && line.user_id) {
    return "the user";
  }
  if (!line.caller) {
    return line.event === "unusual_activity" ? "" : "unauthenticated";
  }
  return line.caller === line.user_id ? "the user" : `${line.role ?? "admin"} ${line.caller}`;
}
