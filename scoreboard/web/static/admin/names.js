/** The names of users by id, loaded a few at a time. */

const MAX_REQUESTS = 4;

export class Names {
  /** @type {Map<string, string>} an empty text if there is no such user */
  #names = new Map();
  #wanted = new Set();
  #running = 0;

  /**
   * @param {import("./session.js").Session} session
   * @param {() => void} onChange called when names have been loaded
   */
  constructor(session, onChange) {
    this.session = session;
    this.onChange = onChange;
  }

  /** @param {{user_id: string, username: string}[]} users */
  learn(users) {
    users.forEach(({ user_id, username }) => this.#names.set(user_id, username));
  }

  /**
   * Return the name, or the start of the id until the name is loaded.
   *
   * @param {string} id
   */
  of(id) {
    if (!this.#names.has(id) && !this.#wanted.has(id)) {
      this.#wanted.add(id);
      this.#load();
    }
    return this.#names.get(id) || id.slice(0, 8);
  }

  async #load() {
    if (this.#running === MAX_REQUESTS) {
      return;
    }
    this.#running += 1;
    for (const id of this.#wanted) {
      if (!this.#names.has(id)) {
        this.#names.set(id, ""); // no other loop loads it
        try {
          const user = await this.session.get(`/api/admin/users/${encodeURIComponent(id)}`);
          this.#names.set(id, user.username);
        } catch {
          // A deleted user, or no connection: the id is shown.
        }
      }
      this.#wanted.delete(id);
    }
    this.#running -= 1;
    if (!this.#running) {
      this.onChange();
    }
  }
}
