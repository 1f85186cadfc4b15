/** Asking before something is done, and doing it while the question is still there. */

import { button, element } from "./element.js";

/**
 * Ask, and do it if that is the answer; what goes wrong is told in the dialog.
 *
 * @param {object} question
 * @param {string} question.title
 * @param {string} question.text what will come of it
 * @param {string} question.act the word on the button
 * @param {boolean} [question.reason] whether a reason must be given
 * @param {(reason: string) => Promise<void>} question.run
 * @returns {Promise<void>} settled when the dialog is closed
 */
export function ask({ title, text, act, reason = false, run }) {
  const problem = element("p", { class: "problem", role: "alert" });
  const input = element("input", { name: "reason", maxlength: 200, required: "", autocomplete: "off" });
  const go = element("button", { class: "danger" }, act);
  const form = element(
    "form",
    { method: "dialog" },
    ...(reason ? [element("label", {}, "Reason, for the audit log ", input)] : []),
    problem,
    element("div", { class: "buttons" }, go, button("Cancel", () => dialog.close())),
  );
  const dialog = shown(title, element("p", {}, text), form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.textContent = "";
    go.disabled = true;
    try {
      await run(input.value);
      dialog.close();
    } catch (error) {
      problem.textContent = error.message;
      go.disabled = false;
      (reason ? input : go).focus();
    }
  });
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve());
  });
}

let dialogs = 0;

/**
 * Show a modal dialog; it is taken out of the page when it closes.
 *
 * @param {string} title
 * @param {...Node} content
 * @returns {HTMLDialogElement}
 */
export function shown(title, ...content) {
  const id = `dialog-${++dialogs}`;
  const heading = element("h2", { id }, title);
  const dialog = element("dialog", { "aria-labelledby": id }, heading, ...content);
  const opener = document.activeElement;
  dialog.addEventListener("close", () => {
    dialog.remove();
    refocus(opener);
  });
  document.querySelector("main").append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * The browser puts the focus back where it was, but not on what was drawn anew meanwhile.
 *
 * @param {HTMLElement} opener
 */
function refocus(opener) {
  if (opener.isConnected) {
    return;
  }
  const keyed = [...document.querySelectorAll("[data-key]")];
  const again = keyed.find(({ dataset }) => dataset.key === opener.dataset.key);
  const below = [...document.querySelectorAll("dialog")].pop()?.querySelector("button");
  (again ?? below)?.focus();
}
