/** The page for wall screens: shows one board, or several in turn. */

import { Api } from "../board/api.js";
import { ruleOf } from "../board/describe.js";
import { Session } from "../board/session.js";
import { insteadOfBoard, StatusLine } from "../board/status.js";
import { Viewer } from "../board/viewer.js";
import { countText, numberText } from "../design/format.js";
import { Clock } from "./clock.js";
import { Feed, TOP } from "./feed.js";
import { showJoin } from "./join.js";
import { Moment } from "./moment.js";
import { animate } from "./motion.js";
import { Places, PODIUM } from "./places.js";
import { readQuery } from "./query.js";
import { setFitting, setText } from "./texts.js";

const TITLE_FITS = [20, 34, 50];
const FADE = { duration: 500, easing: "ease-out" };

const base = new URL("./", document.baseURI);
const query = readQuery(location.search);
const installation = document.documentElement.dataset.title; // absent if it has no name
const joining = document.getElementById("join"); // absent if nobody can join

const api = new Api(base);
const viewer = new Viewer(api);
const session = new Session(api, () => {});
const status = new StatusLine(byId("status"));
const clock = new Clock(byId("clock"));
const places = new Places(byId("places"));
const moment = new Moment(byId("moment"));
const tabs = byId("boards");

const feeds = query.boards.map(
  (id) => new Feed({ base, id, api, viewer, session, onChange: update }),
);
let shown = feeds[0];
/** The user in the first place, and of which season of which board. */
let leader = { list: "", userId: "" };

/** @param {Feed} feed */
function update(feed) {
  if (feed === shown) {
    show();
  }
  showProblems();
  showTabs();
}

/** Show the current board as it is now. */
function show() {
  const { board, state } = shown;
  const rows = shown.rows();
  status.show(state);
  clock.show(board);
  if (board) {
    showTexts(board);
  }
  document.body.dataset.view = rows ? (rows.length ? "list" : "empty") : "message";
  document.body.dataset.state = board?.state ?? "";
  setText(byId("notice"), rows ? emptyText(board) : insteadOfBoard(state));
  byId("notice").hidden = Boolean(rows?.length);
  if (rows && board) {
    places.show(rows, board, Math.min(shown.players, TOP) - PODIUM);
    showLeader(rows, board);
  } else {
    places.clear();
  }
  showPage(rows);
}

/** @param {import("../board/live.js").Board | null} board */
function emptyText(board) {
  if (board?.state === "closed") {
    return "This board is closed. There are no scores.";
  }
  return joining ? "Be the first on the board" : "The first score will appear here";
}

/** @param {import("../board/live.js").Board} board */
function showTexts(board) {
  const { title: ofBoard } = board;
  const title = installation ?? ofBoard;
  setFitting(byId("title"), title, TITLE_FITS);
  setFitting(byId("board-title"), ofBoard, TITLE_FITS);
  byId("board-title").hidden = title === ofBoard;
  setText(byId("rule"), ruleOf(board));
  document.title = `${ofBoard}: live on the wall`;
}

/**
 * @param {import("../board/live.js").Row[]} rows
 * @param {import("../board/live.js").Board} board
 */
function showLeader(rows, board) {
  const list = `${board.board_id} ${board.season.number}`;
  const userId = rows[0]?.userId ?? "";
  if (userId && leader.userId && leader.list === list && leader.userId !== userId) {
    moment.show(rows[0].name);
  }
  leader = { list, userId };
}

/** @param {import("../board/live.js").Row[] | null} rows */
function showPage(rows) {
  const page = shown.pager.rows;
  const { players } = shown;
  const ranks = page && [page[0].rank, page[page.length - 1].rank].map(numberText);
  const places = ranks ? `Places ${ranks.join("–")} of ` : "";
  setText(byId("pages"), rows?.length ? places + countText(players, "player") : "");
}

function showProblems() {
  const unknown = feeds.filter((feed) => !feed.isAvailable);
  const isPartly = feeds.length > 1 && unknown.length > 0;
  const missing = isPartly ? [`Not shown: ${unknown.map((feed) => feed.id).join(", ")}.`] : [];
  const text = [...query.problems, ...missing].join(" ");
  setText(byId("problems"), text);
  byId("problems").hidden = !text;
}

/** Show the titles of the boards that take turns. */
function showTabs() {
  const available = feeds.filter((feed) => feed.isAvailable);
  tabs.hidden = available.length < 2;
  const items = available.map((feed, index) => {
    const item = /** @type {HTMLElement | undefined} */ (tabs.children[index]) ?? document.createElement("li");
    item.dir = "auto";
    item.toggleAttribute("data-current", feed === shown);
    setText(item, feed.board?.title ?? feed.id);
    return item;
  });
  if (items.length !== tabs.children.length) {
    tabs.replaceChildren(...items);
  }
  const current = /** @type {HTMLElement | null} */ (tabs.querySelector("[data-current]"));
  tabs.scrollLeft = (current?.offsetLeft ?? 0) - tabs.offsetLeft;
}

/** Show the next available board, unless a reveal is being shown. */
function rotate() {
  const next = feeds.slice(feeds.indexOf(shown) + 1).concat(feeds).find((feed) => feed.isAvailable);
  if (next && next !== shown && !shown.steps.isRevealing) {
    shown.pager.stop();
    moment.hide();
    shown = next;
    shown.pager.start();
    places.clear();
    show();
    showTabs();
    animate(byId("places"), [{ opacity: 0 }, { opacity: 1 }], FADE);
    animate(byId("title"), [{ opacity: 0 }, { opacity: 1 }], FADE);
  }
}

/** @param {string} id */
function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

if (joining) {
  showJoin(joining, base);
}
document.documentElement.classList.toggle("rotating", feeds.length > 1);
document.documentElement.style.setProperty("--seconds", `${query.seconds}s`);
feeds.forEach((feed) => feed.live.connection.start());
shown.pager.start();
showProblems();
if (feeds.length > 1) {
  setInterval(rotate, query.seconds * 1000);
}
