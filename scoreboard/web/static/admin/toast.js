/** A short report of an act at the end of the page, with a button to undo it. */

import { button, element } from "./element.js";

const DURATION = 12_000; // milliseconds; it stays while it has the focus or the pointer

export class Toast {
  #timer = 0;

  /** @param {HTMLElement} place with the role status */
  constructor(place) {
    this.place = place;
    for (const event of ["pointerenter", "focusin"]) {
      place.addEventListener(event, () => clearTimeout(this.#timer));
    }
    for (const event of ["pointerleave", "focusout"]) {
      place.addEventListener(event, () => this.#hideLater());
    }
  }

  /**
   * @param {string} text
   * @param {() => void} [undo]
   */
  show(text, undo) {
    const parts = [element("span", {}, text)];
    if (undo) {
      const act = () => {
        this.hide();
        undo();
      };
      parts.push(button("Undo", act, { class: "undo" }));
    }
    this.#set(parts, "toast");
  }

  /** @param {string} text of a problem */
  fail(text) {
    this.#set([element("span", {}, text), button("Close", () => this.hide(), { class: "undo" })], "toast bad");
  }

  hide() {
    clearTimeout(this.#timer);
    this.place.replaceChildren();
  }

  #set(parts, kind) {
    this.place.replaceChildren(element("div", { class: kind }, ...parts));
    this.#hideLater();
  }

  #hideLater() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.hide(), DURATION);
  }
}
