/** Modal dialogs, and confirmation of an action in a dialog. */

import { button, element } from "./element.js";

/**
 * Ask for confirmation, then run the action. Its error is shown in the dialog.
 *
 * @param {object} question
 * @param {string} question.title
 * @param {string} question.text the effect of the action
 * @param {string} question.act the label of the button
 * @param {boolean} [question.reason] whether a reason must be given
 * @param {(reason: string) => Promise<void>} question.run
 * @returns {Promise<void>} resolves when the dialog is closed
 */
export function confirm({ title, text, act, reason = false, run }) {
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
  const dialog = showDialog(title, element("p", {}, text), form);
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
 * Show a modal dialog. It is removed from the page when it closes.
 *
 * @param {string} title
 * @param {...Node} content
 * @returns {HTMLDialogElement}
 */
export function showDialog(title, ...content) {
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
 * Restore the focus if the opener was redrawn; otherwise the browser restores it.
 *
 * @param {HTMLElement} opener
 */
function refocus(opener) {
  if (opener.isConnected) {
    return;
  }
  const keyed = [...document.querySelectorAll("[data-key]")];
  const replacement = keyed.find(({ dataset }) => dataset.key === opener.dataset.key);
  const below = [...document.querySelectorAll("dialog")].pop()?.querySelector("button");
  (replacement ?? below)?.focus();
}
