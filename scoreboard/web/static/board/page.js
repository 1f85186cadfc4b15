/** The live page: connects the board, the session and the elements of the page. */

import { Api } from "./api.js";
import { Picker } from "./boards.js";
import { ruleOf, StateLine } from "./describe.js";
import { LiveBoard } from "./live.js";
import { Place } from "./place.js";
import { Session } from "./session.js";
import { insteadOfBoard, StatusLine } from "./status.js";
import { nameElement, ScoreTable, scoreText } from "./table.js";
import { BoardTokens, Viewer } from "./viewer.js";

const RESTORE_RETRY_DELAY = 5_000; // milliseconds

const base = new URL("./", document.baseURI);
const id = document.documentElement.dataset.board;
const path = `api/boards/${encodeURIComponent(id)}`;
const api = new Api(base);
const viewer = new Viewer(api);
const session = new Session(api, showEnd);

const status = new StatusLine(byId("status"));
const season = new StateLine(byId("season"));
const notice = byId("notice");
const table = new ScoreTable("The top 10");
table.element.hidden = true;
byId("table").append(table.element);
// The following are not on a wall screen.
const nav = document.getElementById("boards");
const events = document.getElementById("events");
const section = document.getElementById("place");
const picker = nav && new Picker(nav, id);
let restoreTimer = 0;

const live = new LiveBoard({
  base,
  id,
  tokens: new BoardTokens(api, path, () => (session.isSignedIn ? [viewer, session] : [viewer])),
  read: readBoard,
  onState: showState,
  onChange: show,
});
const place = section && new Place(section, path, session, reconnect);

/** Read the board, and on pages with links to the other boards those as well. */
async function readBoard() {
  const read = (path) => (session.isSignedIn ? session.get(path) : api.get(path));
  if (!picker) {
    return read(path);
  }
  const { boards } = await read("api/boards");
  picker.show(boards);
  return boards.find((board) => board.board_id === id);
}

/** @param {import("./connection.js").State} state */
function showState(state) {
  status.show(state);
  if (state.kind === "refused") {
    live.clear();
    readBoard().catch(() => {}); // for the links to the other boards
  }
  if (!live.rows()) {
    notice.textContent = insteadOfBoard(state);
  }
  if (state.kind === "live") {
    restore(); // an earlier attempt may have failed without a server
  }
}

function show() {
  const { board } = live;
  const rows = live.rows();
  season.show(board);
  if (board) {
    showTexts(board);
  }
  table.show(rows ?? [], board, session.user?.user_id);
  table.element.hidden = !rows?.length;
  if (rows) {
    notice.textContent = rows.length ? "" : "No scores yet. The first score will appear here.";
  }
  if (events) {
    showEvents(events);
    place?.showBoard(board, board?.source ? picker?.titleOf(board.source) : undefined);
  }
}

/** @param {import("./live.js").Board} board */
function showTexts(board) {
  picker?.update(board);
  setText(byId("title"), board.title);
  setText(byId("rule"), ruleOf(board));
  document.title = `${board.title}: the top 10, live`;
}

/**
 * @param {HTMLElement} element
 * @param {string} text
 */
function setText(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

/** @param {HTMLElement} list */
function showEvents(list) {
  const shown = new Map([...list.children].map((item) => [item.dataset.key, item]));
  const items = live.events().map(({ key, name, score }) => {
    const item = shown.get(String(key)) ?? document.createElement("li");
    item.dataset.key = String(key);
    const text = scoreText(score, live.board?.format);
    if (item.textContent !== `${name}: ${text}`) {
      item.replaceChildren(nameElement(name), `: ${text}`);
    }
    return item;
  });
  if (items.length !== list.children.length || items[0] !== list.firstElementChild) {
    list.replaceChildren(...items);
  }
  byId("no-events").hidden = items.length > 0;
}

/** Reconnect after signing in or out, which may change the permission to watch. */
function reconnect() {
  show();
  live.load();
  live.connection.now();
}

/** The server has ended the sign-in. */
function showEnd() {
  show();
  place?.show();
  place?.showProblem("You have been signed out: sign in again.");
}

/** @param {string} id */
function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

async function restore() {
  clearTimeout(restoreTimer);
  if (session.isSignedIn && !session.user) {
    try {
      await session.restore();
      place?.showProblem("");
      place?.show();
      show();
    } catch (error) {
      if (session.isSignedIn) {
        place?.showProblem(error.message);
        restoreTimer = setTimeout(restore, RESTORE_RETRY_DELAY);
      }
    }
  }
}

restore();
live.connection.start();
