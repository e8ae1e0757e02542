/** The list of sessions, and the way to the other pages. */
import { dateOf, fromNow } from "../api/time";
import type { Session } from "../gen/contextprotocol/v1/session_pb";
import { TITLE } from "../state/actions";
import { idOf, matches, titleOf } from "../state/sessions";
import { fill, freshId, h, hidden } from "../ui/dom";
import { type IconName, icon } from "../ui/icons";
import { plural, visible } from "../ui/text";
import { themeButton } from "../ui/theme";
import { attempt } from "../ui/toast";
import { openAccount } from "./account";
import type { Shell } from "./shell";
import { openShortcuts } from "./shortcuts";

export class Sidebar {
  readonly element: HTMLElement;
  readonly #search: HTMLInputElement;
  readonly #items = h("ul", { class: "sessions" });
  readonly #end = h("div", { class: "end" });
  #current = "";
  #searching = false;

  constructor(readonly shell: Shell) {
    const id = freshId();
    this.#search = h("input", { id, type: "search", placeholder: "Search ids and labels", autocomplete: "off", "aria-keyshortcuts": "Control+K" });
    this.#search.addEventListener("input", () => {
      this.#draw();
      void this.#loadAll();
    });
    this.element = h(
      "nav",
      { class: "sidebar", "aria-label": "Sessions" },
      h("header", {}, h("a", { href: "#/", class: "brand" }, h("img", { src: "icon.svg", alt: "", width: 24, height: 24 }), "contextprotocol"), themeButton()),
      h("a", { href: "#/", class: "button primary new", title: "New chat (Alt+N)" }, icon("plus"), "New chat"),
      h("div", { class: "search" }, icon("search"), h("label", { for: id, class: "hidden" }, "Search sessions"), this.#search),
      h("div", { class: "list" }, this.#items, this.#end),
      h(
        "footer",
        {},
        link("#/models", "cube", "Models"),
        link("#/usage", "chart", "Usage"),
        h("span", { class: "grow" }),
        button("key", "Account and key", () => openAccount()),
        button("keyboard", "Keyboard shortcuts", () => openShortcuts()),
      ),
    );
    shell.list.follow(() => this.#draw());
    this.#draw();
  }

  /** Marks the session that is open. */
  set current(name: string) {
    this.#current = name;
    this.#draw();
  }

  focusSearch(): void {
    this.#search.focus();
    this.#search.select();
  }

  /** A search looks at all sessions: reads those that are not here yet. */
  async #loadAll(): Promise<void> {
    if (this.#searching) return;
    this.#searching = true;
    await attempt(async () => {
      while (this.#search.value.trim() && this.shell.list.value.more) await this.shell.list.loadMore();
    });
    this.#searching = false;
    this.#draw();
  }

  #draw(): void {
    const { sessions, more, loaded } = this.shell.list.value;
    const search = this.#search.value.trim();
    const found = search ? sessions.filter((session) => matches(session, search)) : sessions;
    fill(this.#items, ...found.map((session) => this.#item(session)));
    const next = h("button", { type: "button", class: "small quiet" }, "Show older sessions");
    next.addEventListener("click", () => void attempt(() => this.shell.list.loadMore()));
    let note = "";
    if (this.#searching) note = "Searching…";
    else if (search && !found.length) note = "No session has this id or label.";
    else if (loaded && !sessions.length) note = "No sessions yet. They appear here once you have sent a message.";
    fill(this.#end, note && h("p", { class: "note" }, note), !search && more && next);
  }

  #item(session: Session): HTMLElement {
    const labels = Object.entries(session.labels).filter(([key]) => key !== TITLE);
    const time = dateOf(session.updateTime ?? session.createTime);
    const current = session.name === this.#current;
    return h(
      "li",
      {},
      h(
        "a",
        { href: `#/${session.name}`, "aria-current": current ? "page" : undefined, title: idOf(session.name) },
        h(
          "span",
          { class: "title" },
          session.parent && h("span", { class: "mark", title: `Fork of ${idOf(session.parent)}` }, icon("fork"), hidden("Fork: ")),
          visible(titleOf(session)),
        ),
        h("span", { class: "facts" }, session.activeTurn && h("span", { class: "pulse" }),
          session.activeTurn ? "answering" : time ? fromNow(time) : "", session.messageCount > 0 && ` · ${plural(session.messageCount, "message")}`),
        labels.length > 0 && h("span", { class: "labels" }, ...labels.map(([key, value]) => h("span", { class: "chip" }, visible(value ? `${key}=${value}` : key)))),
      ),
    );
  }
}

function link(href: string, name: IconName, label: string): HTMLElement {
  return h("a", { href, class: "button quiet small" }, icon(name), label);
}

function button(name: IconName, label: string, run: () => void): HTMLElement {
  return h("button", { type: "button", class: "quiet icon-button", title: label, "aria-label": label, onclick: run }, icon(name));
}
