/** The section for a player's own account: name, email, password, data, and its deletion. */

import { onSubmit, partsOf, valuesOf } from "./forms.js";

const FILE = "scoreboard-account.json";

/** The section "Your account", which a button of the player's section opens. */
export class Account {
  /**
   * @param {HTMLElement} section
   * @param {HTMLElement} button opens and closes it
   * @param {import("./session.js").Session} session
   * @param {{onChange: () => void, onErase: () => void}} events after a change of the user, and
   *   after the deletion of the account
   */
  constructor(section, button, session, { onChange, onErase }) {
    this.section = section;
    this.button = button;
    this.session = session;
    this.onChange = onChange;
    this.parts = partsOf(section);
    const { parts } = this;
    this.#run(parts.profile, "Saved.", (values) => this.#save(values));
    this.#run(parts.password, "Your new password is set. Other devices are signed out.", (values) =>
      session.post("api/auth/password", values),
    );
    this.#run(parts.export, "Your data has been downloaded.", () => this.#download());
    this.#run(parts.erase, "", async (values) => {
      await session.erase(values);
      onErase();
    });
    button.addEventListener("click", () => this.#setOpen(section.hidden));
    parts.close.addEventListener("click", () => {
      this.#setOpen(false);
      button.focus();
    });
  }

  /** Show the signed-in user, or close the section if there is none. */
  show() {
    const { user } = this.session;
    if (!user) {
      this.#setOpen(false);
      return;
    }
    const isGuest = user.email === null;
    for (const part of this.section.querySelectorAll("[data-for]")) {
      const isShown = (part.dataset.for === "guest") === isGuest;
      part.hidden = !isShown;
      for (const input of part.querySelectorAll("input")) {
        input.disabled = !isShown; // a required field that is hidden would block the form
      }
    }
    const { username, email } = this.parts.profile.elements;
    username.value = user.username;
    email.value = user.email ?? "";
  }

  /** @param {boolean} isOpen */
  #setOpen(isOpen) {
    this.section.hidden = !isOpen;
    this.button.setAttribute("aria-expanded", String(isOpen));
    for (const form of this.section.querySelectorAll("form")) {
      form.reset();
      problemOf(form).textContent = "";
    }
    for (const details of this.section.querySelectorAll("details")) {
      details.open = false;
    }
    this.parts.done.textContent = "";
    if (isOpen) {
      this.show();
      this.parts.heading.focus();
    }
  }

  /**
   * @param {HTMLFormElement} form
   * @param {string} done the text after success
   * @param {(values: any) => Promise<void>} act
   */
  #run(form, done, act) {
    onSubmit(
      form,
      async () => {
        this.parts.done.textContent = "";
        await act(valuesOf(form));
        form.reset();
        this.show();
        this.parts.done.textContent = done;
        this.parts.heading.focus();
      },
      problemOf(form),
    );
  }

  /** @param {{username: string, email?: string, current_password?: string}} values */
  async #save({ username, email, ...rest }) {
    const { user } = this.session;
    await this.session.change({
      ...(username !== user?.username && { username }),
      ...(email && email !== user?.email && { email }),
      ...rest,
    });
    this.onChange();
  }

  async #download() {
    const data = await this.session.get("api/auth/me/export");
    const blob = new Blob([JSON.stringify(data, null, 2)], { type: "application/json" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = FILE;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href)); // the download has its data by then
  }
}

/** @param {HTMLFormElement} form */
function problemOf(form) {
  return /** @type {HTMLElement} */ (form.querySelector("[role=alert]"));
}
