/** The boards: make, change, open, close, freeze, reveal, export, end seasons, archive. */

import { scoreText } from "../board/table.js";
import { ask } from "./ask.js";
import { ago, button, element, field, select, setChildren, time } from "./element.js";

const MAX_SEASONS = 100;
const COUNTS = { latest: "The latest score counts", best: "The best score counts", total: "Scores add up" };
const STATES = { open: "good", closed: "warning", frozen: "accent", archived: "" };
const WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
// Settings that `main` takes from the server's environment.
const SETTINGS_OF_MAIN = ["policy", "order", "min_score", "max_score", "submit", "public"];

export class Boards {
  #shown = "";

  /**
   * @param {(name: string) => HTMLElement} part
   * @param {import("./app.js").App} app
   */
  constructor(part, app) {
    this.part = part;
    this.app = app;
    this.boards = [];
    part("boards-new").addEventListener("click", () => this.#create());
  }

  open() {}

  async load() {
    const { boards } = await this.app.session.get("/api/boards");
    this.boards = boards;
    const text = JSON.stringify(boards);
    if (text !== this.#shown) {
      this.#shown = text;
      setChildren(this.part("boards-list"), boards.map((board) => this.#card(board)));
    }
  }

  #card(board) {
    const { board_id: id, title, state, season } = board;
    const key = (name) => ({ "data-key": `${id} ${name}` });
    const address = id === "main" ? "/" : `/?board=${encodeURIComponent(id)}`;
    const wall = `/?${id === "main" ? "" : `board=${encodeURIComponent(id)}&`}display=wall`;
    return element(
      "li",
      { class: "card board-card" },
      element(
        "div",
        { class: "heading" },
        element("h3", {}, element("bdi", {}, title)),
        element("span", { class: `chip ${STATES[state] ?? ""}` }, state),
      ),
      element("p", { class: "muted" }, describe(board)),
      element(
        "p",
        { class: "muted counts" },
        `${board.players.toLocaleString()} ${board.players === 1 ? "player" : "players"} · season ${season.number}, started `,
        ago(season.starts_at),
        ...(season.ends_at ? [", ends ", time(season.ends_at)] : []),
      ),
      element(
        "p",
        { class: "links" },
        element("a", { href: address, ...key("page") }, "Page"),
        element("a", { href: wall, ...key("wall") }, "Wall"),
        element("code", {}, id),
      ),
      element("div", { class: "acts" }, ...this.#acts(board, key)),
      this.#exports(board, key),
    );
  }

  #acts(board, key) {
    const frozen = board.state === "frozen";
    const acts = [
      ...(frozen
        ? [
            button("Reveal next", () => this.#reveal(board, 1), { class: "button small primary", ...key("freeze") }),
            button("Reveal all…", () => this.#revealAll(board), key("reveal")),
          ]
        : [button("Freeze", () => this.#freeze(board), key("freeze"))]),
      board.state === "closed"
        ? button("Open", () => this.#openNow(board), key("open"))
        : button("Close", () => this.#closeNow(board), key("open")),
      button("Edit", () => this.#edit(board), key("edit")),
      button("End season…", () => this.#endSeason(board), key("season")),
    ];
    if (board.board_id !== "main") {
      acts.push(button("Archive…", () => this.#archive(board), { class: "button small bad", ...key("archive") }));
    }
    return acts;
  }

  #exports(board, key) {
    const { number } = board.season;
    const numbers = Array.from({ length: Math.min(number, MAX_SEASONS) }, (_, i) => number - i);
    const options = numbers.map((each) =>
      element("option", { value: each }, each === number ? `Season ${each}, now` : `Season ${each}`),
    );
    const label = { "aria-label": `Season to export of ${board.title}`, class: "compact", ...key("export") };
    const season = element("select", label, ...options);
    const save = (kind, query = "") => () => this.#export(board, season.value, kind, query);
    const named = (text) => ({ "aria-label": `Export ${board.title} as ${text}`, ...key(text) });
    return element(
      "div",
      { class: "acts exports" },
      element("span", { class: "muted" }, "Export"),
      ...(number > 1 ? [season] : []),
      button("CSV", save("csv"), named("CSV")),
      button("JSON", save("json"), named("JSON")),
      button("CTFtime", save("json", "format=ctftime"), named("CTFtime")),
    );
  }

  #path(board, act = "") {
    return `/api/admin/boards/${encodeURIComponent(board.board_id)}${act && `/${act}`}`;
  }

  #post(board, act, body) {
    return () => this.app.session.request("POST", this.#path(board, act), body);
  }

  #patch(board, changes) {
    return () => this.app.session.request("PATCH", this.#path(board), changes);
  }

  #freeze(board) {
    const undo = { run: this.#post(board, "unfreeze"), text: `${board.title} is live again.` };
    const text = `${board.title} is frozen: new scores count, and stay secret until you reveal them.`;
    return this.app.act(this.#post(board, "freeze"), text, undo);
  }

  #reveal(board, places) {
    return this.app.act(this.#post(board, "reveal", { places }), `The next place of ${board.title} is revealed.`);
  }

  #revealAll(board) {
    ask({
      title: `Reveal all of ${board.title}?`,
      text: "Everyone sees the final list at once, and the board is live again. This cannot be undone.",
      act: "Reveal all",
      run: async () => {
        await this.app.run(this.#post(board, "reveal", { places: "all" }));
        this.app.done(`${board.title} shows the whole list.`);
      },
    });
  }

  #closeNow(board) {
    const { closes_at } = board;
    const undo = { run: this.#patch(board, { closes_at }), text: `${board.title} takes scores again.` };
    const closed = { closes_at: new Date().toISOString() };
    return this.app.act(this.#patch(board, closed), `${board.title} is closed: it takes no scores.`, undo);
  }

  #openNow(board) {
    const { opens_at, closes_at } = board;
    const undo = { run: this.#patch(board, { opens_at, closes_at }), text: `${board.title} is closed again.` };
    const run = this.#patch(board, { opens_at: null, closes_at: null });
    return this.app.act(run, `${board.title} is open.`, undo);
  }

  #endSeason(board) {
    const { number } = board.season;
    ask({
      title: `End season ${number} of ${board.title}?`,
      text: `The list of ${board.players.toLocaleString()} players is kept as season ${number}, and season ${number + 1} starts empty at once. This cannot be undone.`,
      act: "End the season",
      isDangerous: true,
      run: async () => {
        await this.app.run(this.#post(board, "seasons"));
        this.app.done(`Season ${number + 1} of ${board.title} has started.`);
      },
    });
  }

  #archive(board) {
    ask({
      title: `Archive ${board.title}?`,
      text: "The board is no longer listed and takes no more scores. Its page stops working for everyone but admins. This cannot be undone.",
      act: "Archive",
      isDangerous: true,
      run: async () => {
        await this.app.run(() => this.app.session.request("DELETE", this.#path(board)));
        this.app.done(`${board.title} is archived.`);
      },
    });
  }

  async #export(board, season, kind, query) {
    const path = this.#path(board, `export.${kind}?season=${season}${query && `&${query}`}`);
    await this.app.act(async () => {
      const address = URL.createObjectURL(await this.app.session.download(path));
      const name = `${board.board_id}-season-${season}${query ? "-ctftime" : ""}.${kind}`;
      const link = element("a", { href: address, download: name });
      link.click();
      URL.revokeObjectURL(address);
    });
  }

  #create() {
    const id = element("input", { required: "", pattern: "[a-z0-9\\-]{1,32}", maxlength: 32, autocomplete: "off", spellcheck: "false" });
    const sources = Object.fromEntries(
      this.boards.filter(({ source }) => source === null).map(({ board_id, title }) => [board_id, title]),
    );
    const source = select({ "": "Nothing: scores are submitted to it", ...sources }, "");
    const form = new Settings({ policy: "best", order: "desc", format: "number", submit: "player", public: true });
    form.title.addEventListener("input", () => {
      if (!id.dataset.typed) {
        id.value = slug(form.title.value);
      }
    });
    id.addEventListener("input", () => (id.dataset.typed = "yes"));
    ask({
      title: "New board",
      content: [
        form.titleField,
        field("Id, in its address", id, "Small letters, digits and hyphens. It cannot be changed."),
        field("Fed by", source),
        ...form.fields,
      ],
      act: "Make the board",
      run: async () => {
        const values = { board_id: id.value, source: source.value || null, ...form.values() };
        const chosen = Object.entries(values).filter(([, value]) => value !== null);
        const body = Object.fromEntries(chosen);
        await this.app.run(() => this.app.session.request("POST", "/api/admin/boards", body));
        this.app.done(`${form.title.value.trim()} is ready.`);
      },
    });
  }

  #edit(board) {
    const form = new Settings(board);
    ask({
      title: `Edit ${board.title}`,
      content: [form.titleField, ...form.fields],
      act: "Save",
      run: async () => {
        const values = form.values();
        const changes = Object.entries(values).filter(
          ([name, value]) => JSON.stringify(value) !== JSON.stringify(normal(name, board[name])),
        );
        if (changes.length) {
          await this.app.run(this.#patch(board, Object.fromEntries(changes)));
          const before = Object.fromEntries(changes.map(([name]) => [name, board[name]]));
          const undo = { run: this.#patch(board, before), text: `${board.title} is as it was.` };
          this.app.done(`${values.title} is changed.`, undo);
        }
      },
    });
  }
}

/** The fields of a board's settings, and their values in the form of the API. */
class Settings {
  /** @param {object} board the values at first */
  constructor(board) {
    const isMain = board.board_id === "main";
    this.title = element("input", { required: "", maxlength: 64, value: board.title ?? "", autocomplete: "off" });
    this.titleField = field("Title", this.title);
    this.controls = {
      policy: select(COUNTS, board.policy),
      order: select({ desc: "Higher is better", asc: "Lower is better" }, board.order),
      format: select({ number: "Numbers", time: "Times in milliseconds" }, board.format),
      submit: select({ player: "Players their own, and scorers", scorer: "Scorers only" }, board.submit),
      min_score: number(board.min_score),
      max_score: number(board.max_score),
      opens_at: moment(board.opens_at),
      closes_at: moment(board.closes_at),
      freezes_at: moment(board.freezes_at),
      tickets: number(board.tickets?.min_seconds, { min: 0, max: 3600, step: 1 }),
      public: select({ true: "Everyone", false: "Signed-in people" }, String(board.public)),
    };
    const labels = {
      policy: "Which score counts",
      order: "Order",
      format: "Shown as",
      submit: "Who submits",
      min_score: "Least score",
      max_score: "Greatest score",
      opens_at: "Opens",
      closes_at: "Closes",
      freezes_at: "Freezes",
      tickets: "Run ticket, seconds",
      public: "Who may see it",
    };
    if (isMain) {
      SETTINGS_OF_MAIN.forEach((name) => delete this.controls[name]);
    }
    this.reset = new ResetFields(board.reset ?? null);
    const pairs = Object.entries(this.controls).map(([name, control]) => field(labels[name], control));
    const note = "Policy, order, bounds and who may see main are settings of the server.";
    this.fields = [
      element("div", { class: "pairs" }, ...pairs),
      ...this.reset.fields,
      ...(isMain ? [element("p", { class: "muted" }, note)] : []),
    ];
  }

  values() {
    const values = { title: this.title.value.trim() };
    for (const [name, control] of Object.entries(this.controls)) {
      values[name] = normal(name, control.value);
    }
    values.reset = this.reset.value();
    return values;
  }
}

/** When seasons end by themselves. */
class ResetFields {
  constructor(reset) {
    const every = { "": "By hand only", day: "Every day", week: "Every week", month: "Every month" };
    this.every = select(every, reset?.every ?? "");
    this.weekday = select(
      Object.fromEntries(WEEKDAYS.map((day) => [day, day[0].toUpperCase() + day.slice(1)])),
      reset?.every === "week" ? reset.on : "monday",
    );
    const day = { type: "number", min: 1, max: 28, value: reset?.every === "month" ? reset.on : 1 };
    this.day = element("input", day);
    this.at = element("input", { type: "time", value: reset?.at ?? "00:00" });
    const zone = reset?.time_zone ?? Intl.DateTimeFormat().resolvedOptions().timeZone ?? "UTC";
    this.zone = element("input", { value: zone, autocomplete: "off", spellcheck: "false" });
    const weekday = field("On", this.weekday);
    const date = field("On day", this.day);
    const rest = [field("At", this.at), field("Time zone", this.zone)];
    const show = () => {
      weekday.hidden = this.every.value !== "week";
      date.hidden = this.every.value !== "month";
      rest.forEach((each) => (each.hidden = this.every.value === ""));
    };
    this.every.addEventListener("change", show);
    show();
    this.fields = [element("div", { class: "pairs" }, field("A season ends", this.every), weekday, date, ...rest)];
  }

  value() {
    const every = this.every.value;
    const on = { week: this.weekday.value, month: Number(this.day.value) }[every];
    const times = { at: this.at.value, time_zone: this.zone.value.trim() };
    return every ? { every, ...(on === undefined ? {} : { on }), ...times } : null;
  }
}

/** Return the value of a setting in one form, from a control or from the API. */
function normal(name, value) {
  if (name.endsWith("_score")) {
    return value === null || value === "" ? null : Number(value);
  }
  if (name.endsWith("s_at")) {
    const at = value ? new Date(value) : null;
    at?.setSeconds(0, 0); // controls have no seconds
    return at ? at.toISOString() : null;
  }
  if (name === "tickets") {
    const seconds = value?.min_seconds ?? value;
    return seconds == null || seconds === "" ? null : { min_seconds: Number(seconds) };
  }
  if (name === "public") {
    return String(value) === "true";
  }
  if (name === "reset" && value) {
    const { every, on, at, time_zone } = value;
    return { every, ...(on == null ? {} : { on }), at, time_zone };
  }
  return value;
}

function number(value, limits = { step: "any" }) {
  return element("input", { type: "number", ...limits, value: value ?? "", placeholder: "none" });
}

function moment(value) {
  const at = value ? new Date(value) : null;
  const local = at ? new Date(at - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16) : "";
  return element("input", { type: "datetime-local", value: local });
}

function slug(title) {
  const plain = title.normalize("NFKD").toLowerCase().replace(/[^a-z0-9]+/g, "-");
  return plain.replace(/^-+|-+$/g, "").slice(0, 32);
}

/** @returns {string} the rule of a board in a sentence */
function describe({ source, policy, order, format, min_score, max_score, submit, public: isPublic }) {
  const parts = [COUNTS[policy], order === "asc" ? "lower is better" : "higher is better"];
  const bound = (value) => scoreText(value, format);
  if (min_score !== null && max_score !== null) {
    parts.push(`from ${bound(min_score)} to ${bound(max_score)}`);
  } else if (min_score !== null) {
    parts.push(`at least ${bound(min_score)}`);
  } else if (max_score !== null) {
    parts.push(`at most ${bound(max_score)}`);
  }
  if (submit === "scorer") {
    parts.push("scorers submit");
  }
  if (source) {
    parts.push(`fed by ${source}`);
  }
  if (!isPublic) {
    parts.push("for signed-in people");
  }
  return `${parts.join(", ")}.`;
}
