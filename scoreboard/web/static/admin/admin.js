/** The page for admins: signing in and out, and what there is to see in between. */

import { Audit } from "./audit.js";
import { CLOCK } from "./element.js";
import { Marks } from "./marks.js";
import { Overview } from "./overview.js";
import { Session } from "./session.js";
import { Watch } from "./watch.js";

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

/** What a signed-in admin sees. */
class Page {
  #over = false;

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
    const onError = (error) => this.#endIfOver(error);
    this.marks = new Marks(this.part, session, () => this.watch.now(), onError);
    this.watch = new Watch(() => this.#round());
    this.part("pause").addEventListener("click", () => this.#pause());
    this.part("sign-out").addEventListener("click", () => this.#signOut());
    document.getElementById("last-hour").focus();
  }

  /** Ask for all there is to see; one that fails does not keep the others from showing. */
  async #round() {
    const asked = [
      this.#show(this.overview, "/api/admin/overview"),
      this.#show(this.marks, "/api/admin/marks"),
      this.#show(this.audit, this.audit.path()),
    ];
    const failed = (await Promise.allSettled(asked)).find(({ reason }) => reason);
    if (this.#over) {
      return;
    }
    if (failed) {
      this.#say(`${failed.reason.message} Trying again every 5 seconds.`, true);
      this.#endIfOver(failed.reason);
      return;
    }
    this.#say(this.watch?.paused ? "Updates are paused." : "Up to date, every 5 seconds.", false);
    const now = new Date().toLocaleTimeString([], CLOCK);
    this.part("updated").textContent = `Last updated ${now}.`;
  }

  async #show(what, path) {
    const answer = await this.session.get(path);
    if (!this.#over) {
      what.show(answer);
    }
  }

  /** Say how it goes; only what is new, or it would be read out every time. */
  #say(text, isProblem) {
    const state = this.part("state");
    if (state.textContent !== text) {
      state.textContent = text;
    }
    state.parentElement.classList.toggle("failing", isProblem);
  }

  #pause() {
    const paused = !this.watch.paused;
    this.part("pause").setAttribute("aria-pressed", String(paused));
    this.#say(paused ? "Updates are paused." : "Going on.", false);
    this.watch.paused = paused;
  }

  async #signOut() {
    const told = this.session.signOut();
    this.#end("You have signed out.");
    try {
      await told;
    } catch (error) {
      if (error.status !== 401) {
        problem.textContent = `Signed out here, but the server was not told: ${error.message}`;
      }
    }
  }

  #endIfOver(error) {
    if (error.status === 401 && error.code) {
      this.session.forget();
      this.#end(error.message);
    }
  }

  /** Take everything out of the page again, and say why. */
  #end(why) {
    if (this.#over) {
      return;
    }
    this.#over = true;
    this.watch.end();
    for (const dialog of main.querySelectorAll("dialog")) {
      dialog.close();
    }
    this.parts.forEach((each) => each.remove());
    signIn.hidden = false;
    problem.textContent = why;
    form.username.focus();
  }
}
