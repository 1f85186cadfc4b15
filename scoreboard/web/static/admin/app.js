/** The page of a signed-in admin: its sections, and what they share. */

import { Activity } from "./activity.js";
import { Boards } from "./boards.js";
import { CLOCK } from "./element.js";
import { Log } from "./log.js";
import { People } from "./people.js";
import { Poller } from "./poller.js";
import { Scores } from "./scores.js";
import { Toast } from "./toast.js";

const SECTIONS = { people: People, scores: Scores, boards: Boards, activity: Activity, log: Log };
const FIRST = "people";
const TITLE = document.title;

export class App {
  #hasEnded = false;
  /** @type {string | null} */
  #current = null;

  /**
   * @param {import("./session.js").Session} session
   * @param {{user_id: string, username: string}} account
   * @param {(reason: string) => void} onEnd called with a sentence when the session has ended
   */
  constructor(session, account, onEnd) {
    this.session = session;
    this.onEnd = onEnd;
    const content = document.getElementById("signed-in").content.cloneNode(true);
    this.parts = [...content.children];
    const named = new Map([...content.querySelectorAll("[data-part]")].map((each) => [each.dataset.part, each]));
    this.part = (name) => named.get(name);
    document.querySelector("main").append(content);
    this.part("who").textContent = account.username;
    this.toast = new Toast(this.part("toast"));
    this.sections = Object.fromEntries(
      Object.entries(SECTIONS).map(([name, Section]) => [name, new Section(this.part, this)]),
    );
    this.onRoute = () => this.#route();
    this.onKey = (event) => this.#onKey(event);
    addEventListener("hashchange", this.onRoute);
    addEventListener("keydown", this.onKey);
    this.poller = new Poller(() => this.#load());
    this.part("pause").addEventListener("click", () => this.#pause());
    this.part("sign-out").addEventListener("click", () => this.#signOut());
    this.#route();
  }

  /** Load the current section now. */
  poll() {
    this.poller.poll();
  }

  /**
   * Run an act at once. Its report offers to undo it, if `undo` is given.
   *
   * @param {() => Promise<any>} run
   * @param {string} [text] the report
   * @param {{run: () => Promise<any>, text: string}} [undo]
   * @returns {Promise<boolean>} whether it succeeded; if not, the problem is shown
   */
  async act(run, text, undo) {
    try {
      await this.run(run);
    } catch (error) {
      this.toast.fail(error.message);
      this.poll(); // a control may show what was not done
      return false;
    }
    if (text) {
      this.done(text, undo);
    }
    return true;
  }

  /**
   * Run a request. If it shows that the session has ended, the page ends too.
   *
   * @param {() => Promise<any>} run
   */
  async run(run) {
    try {
      return await run();
    } catch (error) {
      this.#endIfSignedOut(error);
      throw error;
    }
  }

  /**
   * Report an act and show its effect.
   *
   * @param {string} text
   * @param {{run: () => Promise<any>, text: string}} [undo]
   */
  done(text, undo) {
    this.toast.show(text, undo && (() => this.act(undo.run, undo.text)));
    this.poll();
  }

  /** @param {Error} error of a request for data */
  fail(error) {
    this.#endIfSignedOut(error);
    if (!this.#hasEnded) {
      this.toast.fail(error.message);
    }
  }

  /** Show the section that the address names: #people, #people/USER_ID, ... */
  #route() {
    const [name, id] = location.hash.slice(1).split("/");
    const section = name in SECTIONS ? name : FIRST;
    const isNew = section !== this.#current;
    this.#current = section;
    for (const each of Object.keys(SECTIONS)) {
      this.part(each).hidden = each !== section;
      const tab = this.part(`tab-${each}`);
      if (each === section) {
        tab.setAttribute("aria-current", "page");
      } else {
        tab.removeAttribute("aria-current");
      }
    }
    const heading = this.part(section).querySelector("h2");
    document.title = `${heading.textContent} – ${TITLE}`;
    if (isNew) {
      heading.focus();
      scrollTo(0, 0);
    }
    this.sections[section].open(id && decodeURIComponent(id));
    this.poll();
  }

  async #load() {
    try {
      await this.sections[this.#current].load();
    } catch (error) {
      if (!this.#hasEnded) {
        this.#setState(`${error.message} Trying again every 5 seconds.`, true);
        this.#endIfSignedOut(error);
      }
      return;
    }
    if (!this.#hasEnded) {
      this.#setState(this.poller?.paused ? "Paused" : "Up to date", false);
      this.part("state").title = `Last updated ${new Date().toLocaleTimeString([], CLOCK)}`;
    }
  }

  /** Show the state. An unchanged text is not set again: screen readers would read it again. */
  #setState(text, isProblem) {
    const state = this.part("state");
    if (state.textContent !== text) {
      state.textContent = text;
    }
    state.classList.toggle("failing", isProblem);
  }

  #pause() {
    const paused = !this.poller.paused;
    this.part("pause").setAttribute("aria-pressed", String(paused));
    this.#setState(paused ? "Paused" : "Up to date", false);
    this.poller.paused = paused;
  }

  /** Ctrl+K or ⌘K searches for people. */
  #onKey(event) {
    if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !document.querySelector("dialog")) {
      event.preventDefault();
      if (this.#current !== "people") {
        location.hash = "people";
        this.#route();
      }
      this.part("people-query").focus();
      this.part("people-query").select();
    }
  }

  async #signOut() {
    const signedOut = this.session.signOut();
    this.#end("You have signed out.");
    try {
      await signedOut;
    } catch (error) {
      if (error.status !== 401) {
        this.onEnd(`Signed out on this page, but not on the server: ${error.message}`);
      }
    }
  }

  #endIfSignedOut(error) {
    if (error.status === 401 && error.code && !this.#hasEnded) {
      this.session.discard();
      this.#end(error.message);
    }
  }

  /** Remove the content from the page. */
  #end(reason) {
    this.#hasEnded = true;
    this.poller.stop();
    removeEventListener("hashchange", this.onRoute);
    removeEventListener("keydown", this.onKey);
    document.querySelectorAll("dialog").forEach((dialog) => dialog.close());
    this.parts.forEach((each) => each.remove());
    document.title = TITLE;
    this.onEnd(reason);
  }
}
