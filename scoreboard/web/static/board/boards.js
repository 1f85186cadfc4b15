/** The links to the other boards, shown if there are several. */

/** The section with one link for each board. */
export class Picker {
  /** @type {import("./live.js").Board[]} */
  #boards = [];
  #list = document.createElement("ul");

  /**
   * @param {HTMLElement} nav
   * @param {string} shown the id of the board that the page shows
   */
  constructor(nav, shown) {
    this.nav = nav;
    this.shown = shown;
    nav.append(this.#list);
  }

  /** @param {import("./live.js").Board[]} boards */
  show(boards) {
    this.#boards = boards;
    this.#list.replaceChildren(...boards.map((board) => this.#item(board)));
    this.nav.hidden = boards.every((board) => board.board_id === this.shown);
  }

  /**
   * Show the new title of a board.
   *
   * @param {import("./live.js").Board} changed
   */
  update(changed) {
    const known = this.#boards.find((board) => board.board_id === changed.board_id);
    if (known && known.title !== changed.title) {
      this.show(this.#boards.map((board) => (board === known ? changed : board)));
    }
  }

  /**
   * @param {string | null | undefined} id
   * @returns {import("./live.js").Board | undefined} the board, if it is listed
   */
  find(id) {
    return this.#boards.find((board) => board.board_id === id);
  }

  /** @param {import("./live.js").Board} board */
  #item(board) {
    const link = document.createElement("a");
    link.href = `?board=${board.board_id}`;
    link.className = "chip";
    link.dir = "auto";
    link.textContent = board.title;
    if (board.board_id === this.shown) {
      link.setAttribute("aria-current", "page");
    }
    const item = document.createElement("li");
    item.append(link);
    return item;
  }
}
