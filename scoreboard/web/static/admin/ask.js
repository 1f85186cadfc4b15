/** Modal dialogs with a form: questions before an act that cannot be undone, and settings. */

import { button, element } from "./element.js";

let dialogs = 0;

/**
 * Show a form in a dialog. An error of `run` is shown in it; without one the dialog closes.
 *
 * @param {object} question
 * @param {string} question.title
 * @param {string} [question.text] the effect of the act
 * @param {Node[]} [question.content] fields of the form
 * @param {string} question.act the label of the button
 * @param {boolean} [question.isDangerous]
 * @param {(form: HTMLFormElement) => Promise<void>} question.run
 */
export function ask({ title, text, content = [], act, isDangerous = false, run }) {
  const problem = element("p", { class: "notice bad", role: "alert" });
  const go = element("button", { class: `button ${isDangerous ? "danger" : "primary"}` }, act);
  const cancel = button("Cancel", () => dialog.close(), { class: "button" });
  const form = element(
    "form",
    { method: "dialog", class: "fields" },
    ...content,
    problem,
    element("div", { class: "buttons end" }, cancel, go),
  );
  const dialog = showDialog(title, ...(text ? [element("p", {}, text)] : []), form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.textContent = "";
    go.disabled = true;
    try {
      await run(form);
      dialog.close();
    } catch (error) {
      problem.textContent = error.message;
      go.disabled = false;
      (form.querySelector("input, select") ?? go).focus();
    }
  });
}

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
  if (!opener.isConnected) {
    const keyed = [...document.querySelectorAll("[data-key]")];
    keyed.find(({ dataset }) => dataset.key === opener.dataset.key)?.focus();
  }
}
