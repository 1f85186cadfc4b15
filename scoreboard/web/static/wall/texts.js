/** Texts of the wall, and how much room they need. */

import { scoreText } from "../design/format.js";

const WIDE = /[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uff60]|[\u{1f000}-\u{1faff}]/u;
const WITHOUT_WIDTH = /[\p{Mn}\p{Me}\p{Cf}]/u;
const BROAD = /[A-Z@%&—]|[mw]/;

/**
 * @param {string} text
 * @returns {number} about how many digits are as wide
 */
export function widthOf(text) {
  let width = 0;
  for (const character of text) {
    if (!WITHOUT_WIDTH.test(character)) {
      width += WIDE.test(character) ? 1.8 : BROAD.test(character) ? 1.3 : 1;
    }
  }
  return width;
}

/**
 * Show a text, and say in `data-fit` how long it is, so that the stylesheet can choose its size.
 *
 * @param {HTMLElement} element
 * @param {string} text
 * @param {number[]} limits the widths from which the text is of fit 2, 3, …
 */
export function setFitting(element, text, limits) {
  setText(element, text);
  const width = widthOf(text);
  element.dataset.fit = String(1 + limits.filter((limit) => width > limit).length);
}

/**
 * Allow line breaks between these parts of the text of an element.
 *
 * @param {HTMLElement} element
 * @param {RegExp} parts matches each part
 */
export function allowBreaks(element, parts) {
  const found = element.textContent?.match(parts) ?? [];
  const nodes = found.flatMap((part) => [document.createElement("wbr"), part]);
  element.replaceChildren(...nodes.slice(1));
}

/**
 * @param {HTMLElement} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

/**
 * @param {number} before
 * @param {number} score
 * @param {"number" | "time"} [format] of the board
 * @returns {string} the difference with its sign, for example "+120"
 */
export function changeText(before, score, format) {
  // Sums of fractions: 0.3 − 0.1 is 0.19999999999999998.
  const difference = Number((score - before).toPrecision(15));
  return `${difference < 0 ? "−" : "+"}${scoreText(Math.abs(difference), format)}`;
}
