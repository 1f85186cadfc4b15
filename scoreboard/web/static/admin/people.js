/** Find users and act on them: a list with a search, and a panel with all acts on one user. */

import { ask, showDialog } from "./ask.js";
import { ago, button, element, field, nameOf, select, setChildren } from "./element.js";

const PAGE_SIZE = 50;
const SEARCH_DELAY = 200; // milliseconds
const ROLES = { viewer: "viewer", player: "player", scorer: "scorer", admin: "admin" };
export const RULES = {
  jump: "A jump",
  refusals: "Many refusals",
  users_per_address: "Many users at one address",
  regularity: "Machine-like regularity",
};

/** Acts with their reverse, and the report of each. */
const ACTS = {
  hide: { label: "Hide", reverse: "restore", done: (name) => `${name} is off every board. New scores still count.` },
  restore: { label: "Restore", reverse: "hide", done: (name) => `${name} is back on the boards.` },
  suspend: { label: "Suspend", reverse: "reinstate", done: (name) => `${name} is signed out and cannot sign in.` },
  reinstate: { label: "Reinstate", reverse: "suspend", done: (name) => `${name} may sign in again.` },
};

export class People {
  #users = [];
  /** @type {string | null} cursor of the next page */
  #next = null;
  #pages = 0;
  #shown = "";
  #request = 0;
  /** @type {any} the user in the panel */
  #user = null;
  /** @type {string | null} */
  #userId = null;
  #timer = 0;

  /**
   * @param {(name: string) => HTMLElement} part
   * @param {import("./app.js").App} app
   */
  constructor(part, app) {
    this.part = part;
    this.app = app;
    part("people-query").addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#search(), SEARCH_DELAY);
    });
    part("people-role").addEventListener("change", () => this.#search());
    part("people-status").addEventListener("change", () => this.#search());
    part("people-search").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#search();
    });
    part("people-more").addEventListener("click", () => this.#loadMore());
    part("people-add").addEventListener("click", () => this.#add());
    part("people-list").addEventListener("keydown", (event) => this.#moveFocus(event));
    part("people").addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#userId && !event.target.closest("dialog")) {
        location.hash = "people";
      }
    });
  }

  /** @param {string} [userId] the user to show in the panel */
  open(userId) {
    const isNew = userId && userId !== this.#userId;
    const left = this.#userId;
    this.#userId = userId ?? null;
    this.#user = this.#users.find((user) => user.user_id === userId) ?? null;
    this.#drawPanel();
    this.#mark();
    if (isNew && this.#user) {
      this.part("person").querySelector("h2")?.focus();
    } else if (left && !userId) {
      [...this.part("people-list").querySelectorAll("[data-key]")]
        .find(({ dataset }) => dataset.key === `who ${left}`)
        ?.focus();
    }
  }

  /** Load again. Further pages are kept as they are until the next search. */
  async load() {
    const requests = [this.#userId && this.#loadUser(this.#userId)];
    if (this.#pages <= 1) {
      requests.push(this.#loadPage());
    }
    await Promise.all(requests);
  }

  #search() {
    this.#pages = 0;
    this.app.poll();
  }

  async #loadPage() {
    const request = (this.#request += 1);
    const body = await this.app.session.get(this.#path());
    if (request === this.#request) {
      this.#pages = 1;
      this.#next = body.next;
      this.#users = body.users;
      this.#draw();
    }
  }

  async #loadMore() {
    const request = (this.#request += 1);
    this.part("people-more").disabled = true;
    try {
      const body = await this.app.session.get(`${this.#path()}&cursor=${encodeURIComponent(this.#next)}`);
      if (request === this.#request) {
        this.#pages += 1;
        this.#next = body.next;
        this.#users = [...this.#users, ...body.users];
        this.#draw();
        const first = body.users[0];
        this.#link(first?.user_id)?.focus();
      }
    } catch (error) {
      this.app.fail(error);
    } finally {
      this.part("people-more").disabled = false;
    }
  }

  #path() {
    const query = new URLSearchParams({ limit: String(PAGE_SIZE) });
    for (const name of ["query", "role", "status"]) {
      const { value } = this.part(`people-${name}`);
      if (value.trim()) {
        query.set(name, value.trim());
      }
    }
    return `/api/admin/users?${query}`;
  }

  async #loadUser(userId) {
    const path = `/api/admin/users/${encodeURIComponent(userId)}`;
    try {
      const user = await this.app.session.get(path);
      if (userId === this.#userId) {
        const isFirst = !this.#user;
        this.#user = user;
        this.#drawPanel();
        if (isFirst) {
          this.part("person").querySelector("h2")?.focus();
        }
      }
    } catch (error) {
      if (error.status !== 404 && error.status !== 400) {
        throw error;
      }
      this.#user = null;
      this.#drawPanel("There is no such user.");
    }
  }

  #draw() {
    const text = JSON.stringify([this.#users, this.#next]);
    if (text !== this.#shown) {
      this.#shown = text;
      setChildren(this.part("people-list"), this.#users.map((user) => this.#row(user)));
    }
    this.#mark();
    const isSearch = ["query", "role", "status"].some((name) => this.part(`people-${name}`).value.trim());
    const count = `${this.#users.length.toLocaleString()}${this.#next ? "+" : ""}`;
    const noun = this.#users.length === 1 && !this.#next ? "person" : "people";
    this.part("people-count").textContent = this.#users.length ? `${count} ${noun}` : "";
    this.part("people-none").hidden = this.#users.length > 0;
    this.part("people-none").textContent = isSearch
      ? "Nobody matches. Clear the search, or choose another role or status."
      : "Nobody has joined yet. Share the join code of the board, or add a person.";
    this.part("people-more").hidden = !this.#next;
  }

  /** Mark the user of the panel in the list. */
  #mark() {
    for (const link of this.part("people-list").querySelectorAll("a.who")) {
      const isCurrent = link.dataset.key === `who ${this.#userId}`;
      link.closest("li").classList.toggle("current", isCurrent);
      if (isCurrent) {
        link.setAttribute("aria-current", "true");
      } else {
        link.removeAttribute("aria-current");
      }
    }
    this.part("people-columns").classList.toggle("with-panel", this.#userId !== null);
  }

  #row(user) {
    const link = element(
      "a",
      { class: "who", href: `#people/${user.user_id}`, "data-key": `who ${user.user_id}` },
      nameOf(user.username),
    );
    return element(
      "li",
      { class: "person-row" },
      element("div", { class: "name-cell" }, link, ...chips(user)),
      element("div", { class: "mail muted" }, user.email ?? "guest, without an account"),
      element("div", { class: "joined muted" }, ago(user.created_at)),
      this.#roleSelect(user, "list"),
      element(
        "div",
        { class: "buttons quick" },
        this.#actButton(user, user.hidden_at ? "restore" : "hide", "list"),
        this.#actButton(user, user.suspended_at ? "reinstate" : "suspend", "list"),
      ),
    );
  }

  #roleSelect(user, place) {
    const control = select(ROLES, user.role, {
      "aria-label": `Role of ${user.username}`,
      class: "compact",
      "data-key": `${place} role ${user.user_id}`,
    });
    control.addEventListener("change", () => this.#setRole(user, control.value));
    return control;
  }

  #actButton(user, act, place) {
    const group = act === "hide" || act === "restore" ? "show" : "sign-in";
    return button(ACTS[act].label, () => this.#moderate(user, act), {
      "aria-label": `${ACTS[act].label} ${user.username}`,
      "data-key": `${place} ${group} ${user.user_id}`,
    });
  }

  #drawPanel(problem) {
    const panel = this.part("person");
    panel.hidden = this.#userId === null;
    const user = this.#user;
    const close = element("a", { class: "button small", href: "#people", "aria-label": "Close" }, "Close");
    if (!user) {
      setChildren(panel, [element("p", { class: "muted" }, problem ?? "Loading…"), close]);
      return;
    }
    const key = (name) => ({ "data-key": `panel ${name} ${user.user_id}` });
    const heading = element("h2", { tabindex: -1, ...key("name") }, nameOf(user.username));
    const flags = user.flags.map(({ rule, detail, created_at }) =>
      element("li", {}, element("b", {}, RULES[rule] ?? rule), `: ${detail} `, ago(created_at)),
    );
    setChildren(panel, [
      element("div", { class: "heading" }, heading, close),
      element("div", { class: "chips" }, ...chips(user)),
      facts([
        ["Email", user.email ?? "none: joined as a guest"],
        ["Joined", ago(user.created_at)],
        ...(user.hidden_at ? [["Hidden", ago(user.hidden_at)]] : []),
        ...(user.suspended_at ? [["Suspended", ago(user.suspended_at)]] : []),
        ["Role", this.#roleSelect(user, "panel")],
        ["User id", element("code", {}, user.user_id)],
      ]),
      element(
        "div",
        { class: "acts" },
        element("a", { class: "button small", href: `#scores/${user.user_id}`, ...key("scores") }, "Scores"),
        button("Rename", () => this.#rename(user), key("rename")),
        this.#actButton(user, user.hidden_at ? "restore" : "hide", "panel"),
        this.#actButton(user, user.suspended_at ? "reinstate" : "suspend", "panel"),
        button("Reset link", () => this.#resetLink(user), key("reset")),
        button("Sign out everywhere", () => this.#endSessions(user), key("end")),
        button("Delete…", () => this.#delete(user), { class: "button small bad", ...key("delete") }),
      ),
      ...(flags.length ? [element("h3", {}, "Flags"), element("ul", { class: "flags" }, ...flags)] : []),
    ]);
  }

  #pathOf(user, act = "") {
    return `/api/admin/users/${encodeURIComponent(user.user_id)}${act && `/${act}`}`;
  }

  #moderate(user, act) {
    const { done, reverse } = ACTS[act];
    const run = (each) => () => this.app.session.request("POST", this.#pathOf(user, each));
    const undo = { run: run(reverse), text: ACTS[reverse].done(user.username) };
    return this.app.act(run(act), done(user.username), undo);
  }

  #setRole(user, role) {
    const run = (each) => () => this.app.session.request("POST", this.#pathOf(user, "role"), { role: each });
    const done = (each) => `${user.username} is now ${each === "admin" ? "an" : "a"} ${each}.`;
    return this.app.act(run(role), done(role), { run: run(user.role), text: done(user.role) });
  }

  #rename(user) {
    const input = element("input", { value: user.username, maxlength: 64, required: "", autocomplete: "off" });
    const patch = (username) => this.app.session.request("PATCH", this.#pathOf(user), { username });
    ask({
      title: `Rename ${user.username}`,
      content: [field("New name", input)],
      act: "Rename",
      run: async () => {
        const name = input.value.trim();
        await this.app.run(() => patch(name));
        const undo = { run: () => patch(user.username), text: `The name is ${user.username} again.` };
        this.app.done(`${user.username} is now ${name}.`, undo);
      },
    });
    input.select();
  }

  #endSessions(user) {
    const run = () => this.app.session.request("POST", this.#pathOf(user, "end-sessions"));
    return this.app.act(run, `${user.username} is signed out on every device.`);
  }

  async #resetLink(user) {
    let link;
    const run = async () => {
      link = await this.app.session.request("POST", this.#pathOf(user, "reset-link"));
    };
    if (!(await this.app.act(run))) {
      return;
    }
    const input = element("input", { readonly: "", value: link.url, "aria-label": "Reset link" });
    const copied = element("p", { class: "muted", role: "status" });
    const copy = async () => {
      input.select();
      try {
        await navigator.clipboard.writeText(link.url);
        copied.textContent = "Copied.";
      } catch {
        copied.textContent = "Copy the selected text."; // no clipboard on plain http
      }
    };
    const text = `Give this link to ${user.username}. It sets a new password once, until ${new Date(link.expires_at).toLocaleString()}.`;
    const dialog = showDialog(
      `Reset link for ${user.username}`,
      element("p", {}, text),
      element("div", { class: "field" }, input),
      copied,
      element(
        "div",
        { class: "buttons end" },
        button("Close", () => dialog.close(), { class: "button" }),
        button("Copy", copy, { class: "button primary" }),
      ),
    );
    input.select();
  }

  #delete(user) {
    ask({
      title: `Delete ${user.username}?`,
      text: "Name, email address and password are erased, every sign-in ends, and the person leaves every board. This cannot be undone.",
      act: "Delete",
      isDangerous: true,
      run: async () => {
        await this.app.run(() => this.app.session.request("DELETE", this.#pathOf(user)));
        location.hash = "people";
        this.open(); // before the next load: the user is no longer there
        this.app.done(`${user.username} is deleted.`);
      },
    });
  }

  #add() {
    const text = { autocomplete: "off" };
    const name = element("input", { ...text, required: "", maxlength: 64 });
    const email = element("input", { ...text, type: "email", maxlength: 254 });
    const limits = { minlength: 8, maxlength: 256, autocomplete: "new-password" };
    const password = element("input", { type: "password", ...limits });
    const role = select(ROLES, "player");
    ask({
      title: "Add a person",
      content: [
        field("Name", name),
        field("Email", email, "Can be left out."),
        field("Password", password, "Can be left out: a reset link sets it later."),
        field("Role", role),
      ],
      act: "Add",
      run: async () => {
        const body = {
          username: name.value,
          role: role.value,
          ...(email.value && { email: email.value }),
          ...(password.value && { password: password.value }),
        };
        await this.app.run(() => this.app.session.request("POST", "/api/admin/users", body));
        this.app.done(`${name.value.trim()} is added.`);
      },
    });
  }

  #link(userId) {
    const links = [...this.part("people-list").querySelectorAll("a.who")];
    return links.find(({ dataset }) => dataset.key === `who ${userId}`);
  }

  /** Move between names with the arrow keys. */
  #moveFocus(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const links = [...this.part("people-list").querySelectorAll("a.who")];
    const at = links.indexOf(document.activeElement);
    if (step && at >= 0) {
      event.preventDefault();
      links[at + step]?.focus();
    }
  }
}

/** @returns {HTMLElement[]} what is unusual about a user */
function chips(user) {
  const chip = (text, kind) => element("span", { class: `chip ${kind}` }, text);
  const flags = user.flags.length;
  return [
    ...(user.hidden_at ? [chip("hidden", "warning")] : []),
    ...(user.suspended_at ? [chip("suspended", "bad")] : []),
    ...(flags ? [chip(flags === 1 ? "1 flag" : `${flags} flags`, "warning")] : []),
  ];
}

/** @param {[string, Node | string][]} rows */
function facts(rows) {
  const all = rows.map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, value)),
  );
  return element("dl", { class: "facts" }, ...all);
}
