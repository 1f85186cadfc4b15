/** The live page: connects the board, the session and the elements of the page. */

import { Api, Refused } from "./api.js";
import { LiveBoard } from "./live.js";
import { Place } from "./place.js";
import { Session } from "./session.js";
import { insteadOfBoard, StatusLine } from "./status.js";
import { nameElement, ScoreTable, scoreText } from "./table.js";
import { Viewer } from "./viewer.js";

const RESTORE_RETRY_DELAY = 5_000; // milliseconds

const base = new URL("./", document.baseURI);
const api = new Api(base);
const viewer = new Viewer(api);
const session = new Session(api, showEnd);

const status = new StatusLine(byId("status"));
const notice = byId("notice");
const table = new ScoreTable("The ten highest scores");
table.element.hidden = true;
byId("table").append(table.element);
const events = document.getElementById("events"); // not on a wall screen
const section = document.getElementById("place"); // not on a wall screen
let restoreTimer = 0;

/** The viewer's token, or the player's if the board is not public. */
const tokens = {
  /** @type {Viewer | Session} */
  source: viewer,
  async fresh() {
    this.source = viewer;
    try {
      return await viewer.fresh();
    } catch (error) {
      if (!(error instanceof Refused && error.status === 403 && session.isSignedIn)) {
        throw error;
      }
    }
    this.source = session;
    return session.fresh();
  },
  discard() {
    this.source.discard();
  },
};

const live = new LiveBoard({
  base,
  tokens,
  read: (path) => (session.isSignedIn ? session.get(path) : api.get(path)),
  onState: showState,
  onChange: show,
  namesOfEvents: Boolean(events),
});
const place = section && new Place(section, session, reconnect);

/** @param {import("./connection.js").State} state */
function showState(state) {
  status.show(state);
  if (state.kind === "refused") {
    live.clear();
  }
  if (!live.rows()) {
    notice.textContent = insteadOfBoard(state);
  }
  if (state.kind === "live") {
    restore(); // an earlier attempt may have failed without a server
  }
}

function show() {
  const rows = live.rows();
  table.show(rows ?? [], session.user?.user_id);
  table.element.hidden = !rows?.length;
  if (rows) {
    notice.textContent = rows.length ? "" : "No scores yet. The first score will appear here.";
  }
  if (events) {
    showEvents(events);
    place?.update();
  }
}

/** @param {HTMLElement} list */
function showEvents(list) {
  const shown = new Map([...list.children].map((item) => [item.dataset.key, item]));
  const items = live.events().map(({ key, name, score }) => {
    const item = shown.get(String(key)) ?? document.createElement("li");
    item.dataset.key = String(key);
    const text = `${name}: ${scoreText(score)}`;
    if (item.textContent !== text) {
      item.replaceChildren(nameElement(name), `: ${scoreText(score)}`);
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
