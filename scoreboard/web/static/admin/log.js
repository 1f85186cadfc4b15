/** The newest lines of the audit log. */

import { scoreText } from "../board/table.js";
import { drawScope } from "./activity.js";
import { ago, element, nameOf, setRows } from "./element.js";
import { RULES } from "./people.js";

const MAX_STORED_LINES = 1000;
const MAX_SHOWN_LINES = 100;
// All processes, which number their lines together while Redis answers.
const ALL = "";
const FILTERS = {
  all: () => true,
  acts: (line) => line.event !== "score_update" && line.event !== "auth",
  refused: (line) => line.event === "score_update" && line.status !== 200,
  auth: (line) => line.event === "auth",
};

export class Log {
  /** Newest first. */
  #lines = [];
  /** The names of the users in the lines, by id. */
  #names = {};
  /** The `seq` of the newest line, by who gave it: `ALL`, or a process by its name. */
  #newest = new Map();
  /** Who gave the newest `seq`. */
  #source = ALL;

  /**
   * @param {(name: string) => HTMLElement} part
   * @param {import("./app.js").App} app
   */
  constructor(part, app) {
    this.part = part;
    this.app = app;
    part("filter").addEventListener("change", () => this.draw());
  }

  open() {
    this.draw();
  }

  async load() {
    await this.read();
    this.draw();
  }

  /** Read the lines since the last time. */
  async read() {
    const after = this.#newest.get(this.#source);
    const query = new URLSearchParams({
      ...(after && { after }),
      ...(this.#source !== ALL && { process: this.#source }),
    });
    this.#add(await this.app.session.get(`/api/admin/audit?${query}`));
  }

  /**
   * @param {number} limit
   * @returns the newest lines of scores that were accepted
   */
  scores(limit) {
    return this.#lines.filter(isScore).slice(0, limit);
  }

  #add(response) {
    const { redis, process, lines, names } = response;
    drawScope(this.part("log-scope"), response);
    const source = redis === "ok" ? ALL : process.name;
    if ((source === ALL) !== (this.#source === ALL)) {
      // Other numbers for the same lines: start again.
      this.#lines = [];
      this.#newest.clear();
    }
    this.#source = source;
    Object.assign(this.#names, names);
    const known = this.#newest.get(source) ?? 0;
    const fresh = lines.filter(({ seq }) => seq > known);
    if (fresh.length) {
      this.#newest.set(source, fresh[fresh.length - 1].seq);
      this.#lines.unshift(...fresh.reverse());
      this.#lines.sort((a, b) => (a.time < b.time ? 1 : a.time > b.time ? -1 : 0));
      this.#lines.length = Math.min(this.#lines.length, MAX_STORED_LINES);
    }
  }

  draw() {
    const lines = this.#lines.filter(FILTERS[this.part("filter").value]).slice(0, MAX_SHOWN_LINES);
    setRows(this.part("log-table"), lines.map((line) => this.#row(line)));
    this.part("log-table").parentElement.hidden = lines.length === 0;
    this.part("no-lines").hidden = lines.length > 0;
  }

  #row(line) {
    return element(
      "tr",
      {},
      element("td", { class: "nowrap" }, ago(line.time)),
      element("td", {}, ...this.who(line.user_id)),
      element("td", { class: "number" }, line.score_value == null ? "" : scoreText(line.score_value)),
      element("td", {}, eventOf(line)),
      element("td", { class: "by" }, ...this.by(line)),
      element("td", { class: "muted nowrap" }, [line.door, line.address].filter(Boolean).join(", ")),
      element("td", { class: "nowrap" }, element("code", { title: line.request_id ?? "" }, line.request_id?.slice(0, 8) ?? "")),
    );
  }

  /** Return a link to a user in a section. */
  who(id, section = "people") {
    const link = { class: "who", href: `#${section}/${id}`, title: id };
    return id ? [element("a", link, nameOf(this.#names[id] ?? id.slice(0, 8)))] : [];
  }

  /** Return who did it. */
  by(line) {
    if (line.event === "auth" && line.user_id) {
      return ["themselves"];
    }
    if (!line.caller) {
      const isCommand = line.event === "moderation";
      return [line.event === "unusual_activity" ? "" : isCommand ? "command line" : "not signed in"];
    }
    return line.caller === line.user_id && line.event !== "moderation" ? ["themselves"] : this.who(line.caller);
  }
}

function isScore(line) {
  return line.event === "score_update" ? line.status === 200 : line.act === "score by hand";
}

/** Return the event, with its kind as text, not only as a colour. */
function eventOf(line) {
  const event = document.createDocumentFragment();
  const add = (kind, label, more) => {
    event.append(element("span", { class: `chip ${kind}` }, label), more ? ` ${more}` : "");
  };
  if (line.event === "moderation") {
    const target = line.board ?? line.board_id ?? (line.score_id === undefined ? "" : `score ${line.score_id}`);
    add("accent", line.act, target + (line.reason ? `${target && ": "}${line.reason}` : ""));
  } else if (line.event === "unusual_activity") {
    add("warning", "flag", `${RULES[line.rule] ?? line.rule}: ${line.detail}`);
  } else if (line.event === "auth") {
    const accepted = line.code === "accepted";
    add(accepted ? "" : "bad", line.act, accepted ? "" : words(line.code));
  } else if (line.status === 200) {
    add("", "score");
  } else if (line.event === "score_update") {
    add("bad", "refused", words(line.code));
  } else {
    add("", words(line.event), "");
  }
  return event;
}

function words(code) {
  return String(code).replaceAll("_", " ");
}
