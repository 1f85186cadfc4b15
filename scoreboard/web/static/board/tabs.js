/** Storage, messages and locks of the tabs of one browser, each with a fallback. */

const LOCK_TIMEOUT = 15_000; // milliseconds

/**
 * A text that this browser keeps: in localStorage, or, on a shared computer, in sessionStorage,
 * until the tab is closed. If storage is blocked, it ends with the page.
 */
export class StoredText {
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
      return this.#isStored ? this.#ofTab() ?? localStorage.getItem(this.key) : this.#text;
    } catch {
      return this.#text;
    }
  }

  /** Replaces the text where it is kept; null removes it. */
  set text(text) {
    this.keep(text, this.#isOfTab());
  }

  /**
   * @param {string | null} text
   * @param {boolean} isShared whether the text must end with the tab
   */
  keep(text, isShared) {
    this.#text = text;
    try {
      sessionStorage.removeItem(this.key);
      if (text === null) {
        localStorage.removeItem(this.key);
      } else {
        (isShared ? sessionStorage : localStorage).setItem(this.key, text);
      }
      this.#isStored = true;
    } catch {
      this.#isStored = false;
    }
  }

  #ofTab() {
    return sessionStorage.getItem(this.key);
  }

  #isOfTab() {
    try {
      return this.#ofTab() !== null;
    } catch {
      return false;
    }
  }
}

/** Sends messages to the other tabs of this site, or nothing if the browser has no channels. */
export class TabChannel {
  /** @type {BroadcastChannel | null} */
  #channel = null;

  /**
   * @param {string} name
   * @param {(message: any) => void} onMessage called with each message of another tab
   */
  constructor(name, onMessage) {
    try {
      this.#channel = new BroadcastChannel(name);
      this.#channel.onmessage = ({ data }) => onMessage(data);
    } catch {
      // Safari before 15.4, or blocked like storage.
    }
  }

  /** @param {any} message */
  send(message) {
    this.#channel?.postMessage(message);
  }
}

/**
 * Run `act` while no other tab of this site runs it.
 *
 * Without a lock it runs anyway, so `act` must be correct without: plain http pages have no locks,
 * and a suspended tab may hold one for ever.
 *
 * @param {string} name
 * @param {() => Promise<void>} act
 */
export async function oneAtATime(name, act) {
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(), LOCK_TIMEOUT);
  let hasStarted = false;
  try {
    await navigator.locks.request(name, { signal: timeout.signal }, () => {
      hasStarted = true;
      clearTimeout(timer);
      return act();
    });
  } catch (error) {
    if (hasStarted) {
      throw error;
    }
    await act();
  } finally {
    clearTimeout(timer);
  }
}
