/** The live page: connects the board, the session and the elements of the page. */

import { countText } from "../design/format.js";
import { Account } from "./account.js";
import { Api } from "./api.js";
import { Picker } from "./boards.js";
import { freezeOf, ruleOf, StateLine } from "./describe.js";
import { Entry } from "./entry.js";
import { Latest } from "./latest.js";
import { LiveBoard } from "./live.js";
import { Place } from "./place.js";
import { Players } from "./players.js";
import { Reset } from "./reset.js";
import { Session } from "./session.js";
import { insteadOfBoard, StatusLine } from "./status.js";
import { ScoreTable } from "./table.js";
import { BoardTokens, Viewer } from "./viewer.js";

// Milliseconds.
const RESTORE_RETRY_DELAY = 5_000;
const SLOW_RESTORE = 2_000;
// Thousands may watch, and each requests the number of players: seldom where it does not change.
const PLAYERS_INTERVALS = [10_000, 60_000];

const base = new URL("./", document.baseURI);
const id = document.documentElement.dataset.board;
const path = `api/boards/${encodeURIComponent(id)}`;
const api = new Api(base);
const viewer = new Viewer(api);
const session = new Session(api, showEnd, followOtherTab);

const status = new StatusLine(byId("status"));
const season = new StateLine(byId("season"));
const notice = byId("notice");
const table = new ScoreTable("The top 10", { className: "podium" });
table.element.hidden = true;
byId("table").append(table.element);
const picker = new Picker(byId("boards"), id);
let restoreTimer = 0;
/** Whether a sign-in from before a reload cannot be restored soon: the visitor may use another. */
let isSlow = false;

const live = new LiveBoard({
  base,
  id,
  tokens: new BoardTokens(api, path, () => (session.isSignedIn ? [viewer, session] : [viewer])),
  read: readBoard,
  onState: showState,
  onChange: show,
  playersIntervals: PLAYERS_INTERVALS,
});
const context = () => ({ board: live.board, own: session.user?.user_id });
const entry = new Entry(byId("entry"), session, showEntry);
const place = new Place(byId("place"), path, session, {
  onSignOut: showExit,
  onTotal: (players) => live.setPlayers(players),
});
const account = new Account(byId("account"), byId("show-account"), session, {
  onChange: showUser,
  onErase: showErasure,
});
const players = new Players(byId("all"), byId("show-players"), readList, context);
const reset = new Reset(byId("reset"), api, () => entry.offerSignIn());
const latest = new Latest(byId("events"), byId("no-events"), live, id, (users) =>
  readList(`users=${users.join(",")}`),
);

/**
 * @param {string} path
 * @returns {Promise<any>}
 */
function read(path) {
  return session.isSignedIn ? session.get(path) : api.get(path);
}

/** @param {string} query of the leaderboard */
function readList(query) {
  return read(`${path}/leaderboard?${query}`);
}

/** Read the board, and the others for the links to them. */
async function readBoard() {
  const { boards } = await read("api/boards");
  picker.show(boards);
  return boards.find((board) => board.board_id === id);
}

/** @param {import("./connection.js").State} state */
function showState(state) {
  status.show(state);
  if (state.kind === "refused") {
    live.clear();
    players.close();
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
    notice.textContent = rows.length ? "" : emptyText();
  }
  const source = board?.source ? picker.find(board.source) : undefined;
  const title = board?.source ? (source?.title ?? board.source) : undefined;
  place.showBoard(board, source, title);
  showEntryForms();
  byId("vacant").hidden = rows?.length !== 0;
  latest.show();
  if (board && rows) {
    const count = Math.max(board.players ?? 0, rows.length);
    players.offer(count, rows.length);
    setText(byId("players"), count ? countText(count, "player") : "");
  }
}

/** @returns {string} what an empty board says */
function emptyText() {
  const canJoin = !session.isSignedIn && Boolean(entry.parts.join);
  return canJoin
    ? "No scores yet. Join with a nickname and be the first on the podium."
    : "No scores yet. The first score will appear here.";
}

/** @param {import("./live.js").Board} board */
function showTexts(board) {
  const { title } = board;
  picker.update(board);
  setText(byId("title"), title);
  setText(byId("rule"), ruleOf(board));
  setText(byId("freeze"), freezeOf(board, Date.now()));
  document.title = `${title}: the top 10, live`;
  const brand = byId("brand");
  brand.hidden = brand.textContent === title;
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

/** Show the forms to join unless there is a player, or one is being restored. */
function showEntryForms() {
  entry.show(!session.user && (isSlow || !session.isSignedIn));
}

/** The visitor has become a player. */
function showEntry() {
  followOtherTab();
  byId("your-place").focus();
}

/**
 * The player has signed out.
 *
 * @param {string} problem
 */
function showExit(problem) {
  followOtherTab();
  entry.showProblem(problem);
  byId("entry-heading").focus();
}

/** Show the signed-in user, or that there is none. */
function showUser() {
  place.show();
  account.show();
}

function showErasure() {
  showExit("");
  entry.showDone("Your account is deleted.");
}

/** Reconnect after signing in or out, which may change the permission to watch. */
function followOtherTab() {
  restore();
  showUser();
  show();
  live.load();
  live.connection.now();
}

/** The server has ended the sign-in. */
function showEnd() {
  showUser();
  show();
  entry.offerSignIn();
  entry.showProblem("You have been signed out: sign in again.");
}

/** Read the part of the address after #, which is not sent to the server: a code or a token. */
function readFragment() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const code = fragment.get("join");
  const token = fragment.get("reset");
  if (code) {
    entry.useCode(code);
  }
  if (token) {
    reset.show(token);
    // The token must not stay in the history of a shared computer.
    history.replaceState(null, "", location.pathname + location.search);
  }
}

/** @param {string} id */
function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

async function restore() {
  clearTimeout(restoreTimer);
  if (session.isSignedIn && !session.user) {
    const slow = setTimeout(() => {
      isSlow = true;
      showEntryForms();
    }, SLOW_RESTORE);
    try {
      await session.restore();
      place.showProblem("");
      showUser();
      show();
    } catch (error) {
      if (session.isSignedIn) {
        place.showProblem(error.message);
        restoreTimer = setTimeout(restore, RESTORE_RETRY_DELAY);
      }
    } finally {
      clearTimeout(slow);
    }
  }
}

readFragment();
addEventListener("hashchange", readFragment);
restore();
showEntryForms();
live.connection.start();
