/** The live page: what is on it, and where it gets it from. */

import { Api, Refused } from "./api.js";
import { LiveBoard } from "./live.js";
import { Place } from "./place.js";
import { Session } from "./session.js";
import { insteadOfBoard, StatusLine } from "./status.js";
import { nameElement, ScoreTable, scoreText } from "./table.js";
import { Viewer } from "./viewer.js";

const RESTORE_AGAIN = 5_000;

const base = new URL("./", document.baseURI);
const api = new Api(base);
const viewer = new Viewer(api);
const session = new Session(api, showEnd);

const status = new StatusLine(byId("status"));
const notice = byId("notice");
const table = new ScoreTable("The ten highest scores");
table.element.hidden = true;
byId("table").append(table.element);
const events = document.getElementById("events"); // a wall screen has none
const section = document.getElementById("place"); // nor a place
let restoring = 0;

/** A viewer's token, or the player's own where the board is not public. */
const tokens = {
  /** @type {Viewer | Session} */
  last: viewer,
  async fresh() {
    this.last = viewer;
    try {
      return await viewer.fresh();
    } catch (error) {
      if (!(error instanceof Refused && error.status === 403 && session.isSignedIn)) {
        throw error;
      }
    }
    this.last = session;
    return session.fresh();
  },
  forget() {
    this.last.forget();
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
    restore(); // unless that was done, it failed for want of a server
  }
}

function show() {
  const rows = live.rows();
  table.show(rows ?? [], session.user?.user_id);
  table.element.hidden = !rows?.length;
  if (rows) {
    notice.textContent = rows.length ? "" : "No scores yet. The first one will show up here.";
  }
  if (events) {
    showEvents(events);
    place?.look();
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

/** Somebody has signed in or out, and so may be let in or not. */
function reconnect() {
  show();
  live.connection.now();
}

/** The server has ended the sign-in. */
function showEnd() {
  show();
  place?.show();
  place?.tell("You have been signed out: sign in again.");
}

/** @param {string} id */
function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

async function restore() {
  clearTimeout(restoring);
  if (session.isSignedIn && !session.user) {
    try {
      await session.restore();
      place?.tell("");
      place?.show();
      show();
    } catch (error) {
      if (session.isSignedIn) {
        place?.tell(error.message);
        restoring = setTimeout(restore, RESTORE_AGAIN);
      }
    }
  }
}

restore();
live.connection.start();
