/** What several tabs of one browser have in common, each with a fallback where there is none. */

const LONGEST_WAIT = 15_000;

/** A text that outlives a reload of the tab; where storage is blocked, it lives with the page. */
export class Kept {
  /** @type {string | null} */
  #text = null;
  #isStored = true;

  /** @param {string} key */
  constructor(key) {
    this.key = key;
  }

  /** @returns {string | null} */
  get text() {
    try {
      return this.#isStored ? sessionStorage.getItem(this.key) : this.#text;
    } catch {
      return this.#text;
    }
  }

  /** @param {string | null} text */
  set text(text) {
    this.#text = text;
    try {
      if (text === null) {
        sessionStorage.removeItem(this.key);
      } else {
        sessionStorage.setItem(this.key, text);
      }
      this.#isStored = true;
    } catch {
      this.#isStored = false;
    }
  }
}

/** Messages to the other tabs of this site; where there is no such channel, they get none. */
export class Shared {
  /** @type {BroadcastChannel | null} */
  #channel = null;

  /**
   * @param {string} name
   * @param {(news: any) => void} onNews called with what another tab sent
   */
  constructor(name, onNews) {
    try {
      this.#channel = new BroadcastChannel(name);
      this.#channel.onmessage = ({ data }) => onNews(data);
    } catch {
      // Safari before 15.4, or blocked together with storage.
    }
  }

  /** @param {any} news */
  send(news) {
    this.#channel?.postMessage(news);
  }
}

/**
 * Act while no other tab of this site does the same.
 *
 * Plain http addresses have no locks, and a tab that was suspended may hold one for ever: then it
 * acts without, and has to be right all the same.
 *
 * @param {string} name
 * @param {() => Promise<void>} act
 */
export async function oneAtATime(name, act) {
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), LONGEST_WAIT);
  let hasBegun = false;
  try {
    await navigator.locks.request(name, { signal: patience.signal }, () => {
      hasBegun = true;
      clearTimeout(timer);
      return act();
    });
  } catch (error) {
    if (hasBegun) {
      throw error;
    }
    await act();
  } finally {
    clearTimeout(timer);
  }
}
