/** Polls the server while the page is visible. */

const INTERVAL = 5000; // milliseconds

export class Poller {
  #timer = 0;
  #isRunning = false;
  #isRequested = false;
  #paused = false;
  #stopped = false;

  /** @param {() => Promise<void>} load loads everything once; must not throw */
  constructor(load) {
    this.load = load;
    this.onTime = () => this.pollIfVisible();
    document.addEventListener("visibilitychange", this.onTime);
    this.pollIfVisible();
  }

  get paused() {
    return this.#paused;
  }

  /** @param {boolean} paused */
  set paused(paused) {
    this.#paused = paused;
    this.pollIfVisible();
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    document.removeEventListener("visibilitychange", this.onTime);
  }

  /** Poll now, unless the page is hidden or paused. */
  pollIfVisible() {
    clearTimeout(this.#timer);
    if (!document.hidden && !this.#paused) {
      this.poll();
    }
  }

  /** Poll now, even if paused. During a poll: once more after it. */
  async poll() {
    clearTimeout(this.#timer);
    if (this.#isRunning) {
      this.#isRequested = true;
      return;
    }
    this.#isRunning = true;
    await this.load();
    this.#isRunning = false;
    if (this.#stopped) {
      return;
    }
    if (this.#isRequested) {
      this.#isRequested = false;
      this.poll();
    } else if (!document.hidden && !this.#paused) {
      this.#timer = setTimeout(this.onTime, INTERVAL);
    }
  }
}
