/** The moment when there is a new leader. */

import { animate } from "./motion.js";
import { setFitting } from "./texts.js";
import { nameElement } from "../board/table.js";

// Times are in milliseconds.
const DURATION = 5_000;
const MIN_INTERVAL = 12_000; // two that pass each other must not cover the list all the time
const SWIFT = "cubic-bezier(0.2, 0.9, 0.2, 1)";
const FRAMES = [
  { clipPath: "inset(0 100% 0 0)", easing: SWIFT },
  { clipPath: "inset(0)", offset: 0.12 },
  { clipPath: "inset(0)", offset: 0.92, easing: SWIFT },
  { clipPath: "inset(0 0 0 100%)" },
];
const NAME_FITS = [14, 26];

/** The band across the screen. */
export class Moment {
  #label = document.createElement("span");
  #name = document.createElement("span");
  #timer = 0;
  #shownAt = -Infinity;

  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
    this.#label.className = "label";
    this.#name.className = "name";
  }

  /** @param {string} name of the new leader */
  show(name) {
    const now = performance.now();
    if (now - this.#shownAt < MIN_INTERVAL) {
      return;
    }
    this.#shownAt = now;
    this.#label.textContent = "New leader ";
    setFitting(this.#name, name, NAME_FITS);
    this.#name.replaceChildren(nameElement(name));
    this.element.replaceChildren(this.#label, this.#name);
    animate(this.element, FRAMES, { duration: DURATION });
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.hide(), DURATION);
  }

  hide() {
    clearTimeout(this.#timer);
    this.element.replaceChildren();
  }
}
