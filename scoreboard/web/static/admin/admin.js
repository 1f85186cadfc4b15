/** The admin page: signing in, choosing a password by a reset link, and the page in between. */

import { App } from "./app.js";
import { Unreachable } from "../board/api.js";
import { Session } from "./session.js";

const RESET = "#reset=";
const signIn = document.getElementById("sign-in");
const form = signIn.querySelector("form");
const problem = document.getElementById("problem");
const loading = document.getElementById("loading");

const session = new Session();

form.addEventListener("submit", (event) => {
  event.preventDefault();
  send(form, problem, async () => {
    start(await session.signIn(form.username.value, form.password.value));
    form.reset();
  });
});

/** Show the page of this admin. */
function start(account) {
  signIn.hidden = loading.hidden = true;
  new App(session, account, showSignIn);
}

/** @param {string} [reason] */
function showSignIn(reason = "") {
  loading.hidden = true;
  signIn.hidden = false;
  problem.textContent = reason;
  form.username.focus();
}

/** Run the act of a form with its button disabled, and show its problem. */
async function send(of, place, act) {
  const submit = of.querySelector("button");
  place.textContent = "";
  submit.disabled = true;
  try {
    await act();
  } catch (error) {
    place.textContent = error.message;
    of.querySelector("[type=password]").focus();
  } finally {
    submit.disabled = false;
  }
}

/** Let the owner of a reset link choose a password, and then sign in with it. */
function showReset(token) {
  document.querySelector("main").append(document.getElementById("reset").content.cloneNode(true));
  const choose = document.querySelector(".choose");
  const section = choose.closest("section");
  const place = choose.querySelector("[role=alert]");
  choose.username.focus();
  choose.addEventListener("submit", (event) => {
    event.preventDefault();
    send(choose, place, async () => {
      const [name, password] = [choose.username.value, choose.password.value];
      await session.resetPassword(token, password);
      // The token is used up: a second try would be refused.
      section.remove();
      try {
        start(await session.signIn(name, password));
      } catch (error) {
        showSignIn(`The new password is set. ${error.message}`);
      }
    });
  });
}

async function resume() {
  loading.hidden = false;
  try {
    start(await session.restore());
  } catch (error) {
    if (error instanceof Unreachable || !error.code) {
      loading.textContent = `${error.message} Trying again.`;
      setTimeout(resume, 3000);
      return;
    }
    session.discard();
    showSignIn(error.message);
  }
}

if (location.hash.startsWith(RESET)) {
  const token = decodeURIComponent(location.hash.slice(RESET.length));
  // Not in the history, nor in the address bar of a shared screen.
  history.replaceState(null, "", location.pathname);
  showReset(token);
} else if (session.isStored) {
  resume();
} else {
  showSignIn();
}
