/**
 * <score-board board="weekly" count="10"></score-board>: a live board on any page, served as
 * /embed.js. Without `board` it is the board `main`.
 *
 * It connects to the server that it was loaded from, whose CORS_ORIGINS must list the origin of the
 * page.
 */

import { Api } from "./web/board/api.js";
import { LiveBoard } from "./web/board/live.js";
import { insteadOfBoard, StatusLine } from "./web/board/status.js";
import { ScoreTable } from "./web/board/table.js";
import { BoardTokens, Viewer } from "./web/board/viewer.js";

const MAX_ROWS = 10;
const base = new URL("./", import.meta.url);

const SHEETS = [
  "web/design/tokens.css",
  "theme.css",
  "web/design/components.css",
  "web/board/table.css",
];

/** @type {Promise<CSSStyleSheet[]> | null} shared by all elements, allowed by any policy */
let sheets = null;

/** @param {string} path */
async function fetchSheet(path) {
  const response = await fetch(new URL(path, base));
  if (!response.ok) {
    throw new Error(response.statusText);
  }
  return new CSSStyleSheet().replace(await response.text());
}

/** @param {string} path */
function linkTo(path) {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = String(new URL(path, base));
  return link;
}

/** The element. It connects while it is in a document. */
class ScoreBoard extends HTMLElement {
  static observedAttributes = ["board", "count"];

  #status = new StatusLine(document.createElement("p"));
  #notice = document.createElement("p");
  #table = new ScoreTable("The top 10");
  /** @type {LiveBoard | null} */
  #live = null;

  constructor() {
    super();
    this.#status.element.className = "status";
    this.#status.element.setAttribute("role", "status");
    this.#notice.className = "notice";
    this.#table.element.hidden = true;
  }

  async connectedCallback() {
    sheets ??= Promise.all(SHEETS.map(fetchSheet));
    const root = this.shadowRoot ?? this.attachShadow({ mode: "open" });
    try {
      root.adoptedStyleSheets = await sheets;
    } catch {
      sheets = null; // shown without styles; the next element tries again
    }
    if (!this.isConnected || this.#live) {
      return;
    }
    root.replaceChildren(this.#table.element, this.#notice, this.#status.element);
    if (!("adoptedStyleSheets" in document)) {
      root.prepend(...SHEETS.map(linkTo)); // Safari before 16.4
    }
    this.#connect();
  }

  disconnectedCallback() {
    this.#live?.stop();
    this.#live = null;
    this.#status.show({ kind: "connecting" }); // stops the countdown
  }

  /**
   * @param {string} name
   * @param {string | null} before
   * @param {string | null} value
   */
  attributeChangedCallback(name, before, value) {
    if (name === "board" && before !== value && this.#live) {
      this.disconnectedCallback();
      this.#show();
      this.#connect();
    }
    this.#show();
  }

  #connect() {
    const api = new Api(base);
    const id = this.getAttribute("board") || "main";
    const path = `api/boards/${encodeURIComponent(id)}`;
    const viewer = new Viewer(api);
    this.#live = new LiveBoard({
      base,
      id,
      tokens: new BoardTokens(api, path, () => [viewer]),
      read: () => api.get(path),
      onState: (state) => {
        this.#status.show(state);
        if (state.kind === "refused") {
          this.#live?.clear();
        }
        if (!this.#live?.rows()) {
          this.#notice.textContent = insteadOfBoard(state);
        }
      },
      onChange: () => this.#show(),
    });
    this.#live.connection.start();
  }

  #show() {
    const rows = this.#live?.rows();
    const board = this.#live?.board ?? null;
    this.#table.show((rows ?? []).slice(0, this.#count()), board);
    this.#table.element.hidden = !rows?.length;
    if (rows) {
      this.#notice.textContent = rows.length ? "" : "No scores yet.";
    }
  }

  /** @returns {number} the number of rows to show */
  #count() {
    const count = Number.parseInt(this.getAttribute("count") ?? "", 10);
    return Number.isNaN(count) ? MAX_ROWS : Math.min(Math.max(count, 1), MAX_ROWS);
  }
}

if (!customElements.get("score-board")) {
  customElements.define("score-board", ScoreBoard);
}
