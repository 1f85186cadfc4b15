/** Asking the server again and again, for as long as somebody looks. */

const EVERY = 5000;

export class Watch {
  #timer = 0;
  #asking = false;
  #again = false;
  #paused = false;
  #ended = false;

  /**
   * @param {() => Promise<void>} round asks once; what it throws is its own to tell
   */
  constructor(round) {
    this.round = round;
    this.look = () => this.soon();
    document.addEventListener("visibilitychange", this.look);
    this.soon();
  }

  get paused() {
    return this.#paused;
  }

  /** @param {boolean} paused */
  set paused(paused) {
    this.#paused = paused;
    this.soon();
  }

  end() {
    this.#ended = true;
    clearTimeout(this.#timer);
    document.removeEventListener("visibilitychange", this.look);
  }

  /** Ask now, unless nobody looks. */
  soon() {
    clearTimeout(this.#timer);
    if (!document.hidden && !this.#paused) {
      this.now();
    }
  }

  /** Ask now, even while paused; if just asking, then once more after it. */
  async now() {
    clearTimeout(this.#timer);
    if (this.#asking) {
      this.#again = true;
      return;
    }
    this.#asking = true;
    await this.round();
    this.#asking = false;
    if (this.#ended) {
      return;
    }
    if (this.#again) {
      this.#again = false;
      this.now();
    } else if (!document.hidden && !this.#paused) {
      this.#timer = setTimeout(this.look, EVERY);
    }
  }
}
