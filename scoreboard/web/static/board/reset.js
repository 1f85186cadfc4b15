/** The section that sets a new password with the token of a link, `/#reset=TOKEN`. */

import { onSubmit, partsOf } from "./forms.js";

/** The section, which is hidden without a token. */
export class Reset {
  #token = "";

  /**
   * @param {HTMLElement} section
   * @param {import("./api.js").Api} api
   * @param {() => void} onDone called when the password is set
   */
  constructor(section, api, onDone) {
    this.section = section;
    this.parts = partsOf(section);
    onSubmit(
      this.parts.form,
      async () => {
        const new_password = this.parts.form.elements.password.value;
        await api.post("api/auth/reset", { token: this.#token, new_password });
        this.parts.form.hidden = true;
        this.parts.done.textContent = "Your new password is set. Sign in with it.";
        onDone();
      },
      this.parts.problem,
    );
  }

  /** @param {string} token */
  show(token) {
    this.#token = token;
    this.section.hidden = false;
    this.parts.form.elements.password.focus();
  }
}
