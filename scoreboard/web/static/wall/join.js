/** How to join: the QR code and the address in large type. */

import { allowBreaks, setFitting } from "./texts.js";

const LOCAL = /^(localhost|127\..*|\[::1\])$/;
const RETRY_DELAY = 10_000; // milliseconds
const CODE = /^[A-Za-z0-9_-]{4,64}$/;
const ADDRESS_FITS = [12, 15, 32];

/**
 * Show how to join. The organiser shows the join code on purpose, by adding it to the address of the
 * wall: /?display=wall#join=CODE. Browsers do not send this part, so it is in no log.
 *
 * @param {HTMLElement} section
 * @param {URL} base
 */
export function showJoin(section, base) {
  const code = codeOf(location.hash);
  const find = (id) => /** @type {HTMLElement} */ (section.querySelector(`#${id}`));
  const url = new URL(section.dataset.url ?? "", base); // not `base` if phones cannot open that
  const address = `${url.host}${url.pathname}`.replace(/\/$/, "");
  setFitting(find("join-address"), address, ADDRESS_FITS);
  allowBreaks(find("join-address"), /[.:/]?[^.:/]+/g);
  if (LOCAL.test(url.hostname)) {
    find("join-how").textContent =
      "Phones cannot open this address: open the wall at this computer’s network address.";
  }
  if (code) {
    find("join-word").hidden = false;
    /** @type {HTMLElement} */ (find("join-word").querySelector("b")).textContent = code;
  }
  showCode(/** @type {HTMLImageElement} */ (find("join-code")), base, code);
}

/**
 * @param {string} hash
 * @returns {string} the join code, empty if there is none
 */
function codeOf(hash) {
  const code = new URLSearchParams(hash.slice(1)).get("join") ?? "";
  return CODE.test(code) ? code : "";
}

/**
 * @param {HTMLImageElement} image
 * @param {URL} base
 * @param {string} code
 */
async function showCode(image, base, code) {
  try {
    const headers = code ? { "Join-Code": code } : {};
    const response = await fetch(new URL("join.svg", base), { headers, credentials: "omit" });
    if (response.ok) {
      image.src = `data:image/svg+xml,${encodeURIComponent(await response.text())}`;
      image.hidden = false;
      return;
    }
  } catch {
    // The server cannot be reached now.
  }
  setTimeout(() => showCode(image, base, code), RETRY_DELAY);
}
