/** The admin page: signing in and out, and the sections in between. */

import { Audit } from "./audit.js";
import { CLOCK } from "./element.js";
import { Marks } from "./marks.js";
import { Overview } from "./overview.js";
import { Session } from "./session.js";
import { Poller } from "./watch.js";

const main = document.querySelector("main");
const signIn = document.getElementById("sign-in");
const form = signIn.querySelector("form");
const problem = document.getElementById("problem");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const submit = form.querySelector("button");
  problem.textContent = "";
  submit.disabled = true;
  try {
    const session = new Session();
    const account = await session.signIn(form.username.value, form.password.value);
    form.reset();
    new Page(session, account);
  } catch (error) {
    problem.textContent = error.message;
    form.password.focus();
  } finally {
    submit.disabled = false;
  }
});
signIn.hidden = false;

/** The content of the page for a signed-in admin. */
class Page {
  #hasEnded = false;

  constructor(session, account) {
    this.session = session;
    this.content = document.getElementById("signed-in").content.cloneNode(true);
    this.parts = [...this.content.children];
    const named = this.content.querySelectorAll("[data-part]");
    const parts = new Map([...named].map((each) => [each.dataset.part, each]));
    this.part = (name) => parts.get(name);
    signIn.hidden = true;
    main.append(this.content);
    this.part("who").textContent = account.username;
    this.overview = new Overview(this.part);
    this.audit = new Audit(this.part);
    const onError = (error) => this.#endIfSignedOut(error);
    this.marks = new Marks(this.part, session, () => this.poller.poll(), onError);
    this.poller = new Poller(() => this.#load());
    this.part("pause").addEventListener("click", () => this.#pause());
    this.part("sign-out").addEventListener("click", () => this.#signOut());
    document.getElementById("last-hour").focus();
  }

  /** Load and show all sections. If one fails, the others are shown. */
  async #load() {
    const requests = [
      this.#show(this.overview, "/api/admin/overview"),
      this.#show(this.marks, "/api/admin/marks"),
      this.#show(this.audit, this.audit.path()),
    ];
    const failed = (await Promise.allSettled(requests)).find(({ reason }) => reason);
    if (this.#hasEnded) {
      return;
    }
    if (failed) {
      this.#setState(`${failed.reason.message} Trying again every 5 seconds.`, true);
      this.#endIfSignedOut(failed.reason);
      return;
    }
    this.#setState(this.poller?.paused ? "Updates are paused." : "Up to date, every 5 seconds.", false);
    const now = new Date().toLocaleTimeString([], CLOCK);
    this.part("updated").textContent = `Last updated ${now}.`;
  }

  async #show(section, path) {
    const body = await this.session.get(path);
    if (!this.#hasEnded) {
      section.show(body);
    }
  }

  /** Show the state. An unchanged text is not set again: screen readers would read it again. */
  #setState(text, isProblem) {
    const state = this.part("state");
    if (state.textContent !== text) {
      state.textContent = text;
    }
    state.parentElement.classList.toggle("failing", isProblem);
  }

  #pause() {
    const paused = !this.poller.paused;
    this.part("pause").setAttribute("aria-pressed", String(paused));
    this.#setState(paused ? "Updates are paused." : "Updates are resumed.", false);
    this.poller.paused = paused;
  }

  async #signOut() {
    const signedOut = this.session.signOut();
    this.#end("You have signed out.");
    try {
      await signedOut;
    } catch (error) {
      if (error.status !== 401) {
        problem.textContent = `Signed out on this page, but not on the server: ${error.message}`;
      }
    }
  }

  #endIfSignedOut(error) {
    if (error.status === 401 && error.code) {
      this.session.discard();
      this.#end(error.message);
    }
  }

  /** Remove the content from the page, and show the reason. */
  #end(reason) {
    if (this.#hasEnded) {
      return;
    }
    this.#hasEnded = true;
    this.poller.stop();
    for (const dialog of main.querySelectorAll("dialog")) {
      dialog.close();
    }
    this.parts.forEach((each) => each.remove());
    signIn.hidden = false;
    problem.textContent = reason;
    form.username.focus();
  }
}
