/** The section for visitors: join with a nickname, create an account, sign in. */

import { onSubmit, partsOf, valuesOf } from "./forms.js";

const WAYS = {
  join: { heading: "Join in", link: "Join with a nickname" },
  register: { heading: "Create an account", link: "Create an account" },
  signIn: { heading: "Sign in", link: "Sign in" },
  forgot: { heading: "Forgot your password?", link: "Forgot your password?" },
};
const SENT = "If an account has this address, a link is on its way to it.";

/** The section with one form at a time, and links to the others. */
export class Entry {
  /**
   * @param {HTMLElement} section
   * @param {import("./session.js").Session} session
   * @param {() => void} onEntry called when the visitor has become a player
   */
  constructor(section, session, onEntry) {
    this.section = section;
    this.session = session;
    this.parts = partsOf(section);
    const { parts } = this;
    const run = (/** @type {string} */ way, /** @type {(values: any) => Promise<void>} */ act) =>
      onSubmit(
        parts[way],
        async () => {
          await act(valuesOf(parts[way]));
          parts[way].reset();
          onEntry();
        },
        parts.problem,
      );
    run("join", ({ shared, ...player }) => session.join(player, shared));
    run("register", ({ shared, ...account }) => session.register(account, shared));
    run("signIn", ({ shared, ...account }) => session.signIn(account, shared));
    onSubmit(parts.forgot, () => this.#forgot(), parts.problem);
    this.#choose(parts.join ? "join" : "signIn");
  }

  /** @param {boolean} isVisitor */
  show(isVisitor) {
    this.section.hidden = !isVisitor;
  }

  /** @param {string} message */
  showProblem(message) {
    this.parts.problem.textContent = message;
  }

  /** @param {string} message of an act that has succeeded */
  showDone(message) {
    this.parts.done.textContent = message;
  }

  /**
   * Fill in the code of a join link.
   *
   * @param {string} code
   */
  useCode(code) {
    for (const form of [this.parts.join, this.parts.register]) {
      if (form?.elements.join_code) {
        form.elements.join_code.value = code;
      }
    }
  }

  /** Show the form to sign in: the visitor has an account. */
  offerSignIn() {
    this.#choose("signIn");
  }

  async #forgot() {
    const { email } = valuesOf(this.parts.forgot);
    await this.session.api.post("api/auth/forgot", { email });
    this.parts.forgot.reset();
    this.parts.done.textContent = SENT;
  }

  /** @param {string} way */
  #choose(way) {
    const { parts } = this;
    parts.heading.textContent = WAYS[way].heading;
    parts.problem.textContent = parts.done.textContent = "";
    const ways = Object.keys(WAYS).filter((each) => parts[each]);
    for (const each of ways) {
      parts[each].hidden = each !== way;
    }
    const others = ways.filter((each) => each !== way && (each !== "forgot" || way === "signIn"));
    parts.ways.replaceChildren(...others.map((each) => this.#link(each)));
  }

  /** @param {string} way */
  #link(way) {
    const button = document.createElement("button");
    button.className = "button quiet";
    button.textContent = WAYS[way].link;
    button.addEventListener("click", () => {
      this.#choose(way);
      (this.parts[way].querySelector("input") ?? this.parts.heading).focus();
    });
    return button;
  }
}
