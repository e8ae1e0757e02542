/** The console of contextprotocol: chat with memory over swappable providers. */
import "uplot/dist/uPlot.min.css";
import "./style/console.css";

import { failureOf } from "./api/failure";
import { setKeyDialog } from "./api/key";
import { CallFailed } from "./api/retry";
import type { Message } from "./gen/contextprotocol/v1/message_pb";
import { Catalogue } from "./state/catalogue";
import { Conversation } from "./state/conversation";
import { type Draft, emptyDraft } from "./state/draft";
import { SessionList } from "./state/sessions";
import { announcer } from "./ui/announce";
import { banner } from "./ui/banner";
import { fill, h } from "./ui/dom";
import { keyDialog } from "./ui/keydialog";
import { messageOf, toast, toasts } from "./ui/toast";
import { ChatView } from "./views/chat";
import { Details } from "./views/details";
import { ModelsView } from "./views/models";
import type { Shell } from "./views/shell";
import { openShortcuts } from "./views/shortcuts";
import { Sidebar } from "./views/sidebar";
import { StartView } from "./views/start";
import { UsageView } from "./views/usage";

interface View {
  readonly element: HTMLElement;
  close(): void;
  focus(): void;
}

/** How long after the last failure the lists are read again, in milliseconds. */
const RETRY = 5000;
const NARROW = matchMedia("(max-width: 60rem)");

class Page implements Shell {
  readonly list = new SessionList();
  readonly catalogue = new Catalogue();
  readonly #main = h("main", { id: "main" });
  readonly #beside = h("div", { class: "contents" });
  readonly #veil = h("div", { class: "veil", hidden: true });
  readonly #sidebar: Sidebar;
  #view: View | undefined;
  #details: Details | undefined;
  #detailsWanted = false;
  #route: string | undefined;
  #then: { send?: readonly Message[]; text?: string } | undefined;
  #draft: Draft = emptyDraft();
  #later: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    setKeyDialog(keyDialog);
    this.#sidebar = new Sidebar(this);
    const skip = h("a", { href: "#main", class: "skip" }, "To the conversation");
    skip.addEventListener("click", (event) => {
      event.preventDefault();
      this.#view?.focus();
    });
    const frame = h("div", { class: "frame" }, this.#sidebar.element, this.#main, this.#beside, this.#veil);
    fill(document.body, skip, banner(), frame, toasts(), announcer());
    this.#veil.addEventListener("click", () => this.#closeDrawers());
    addEventListener("hashchange", () => this.#go());
    addEventListener("keydown", (event) => this.#key(event));
    document.addEventListener("visibilitychange", () => document.hidden || void this.#refresh());
    this.#go();
    addEventListener("online", () => void this.#refresh());
    void this.#refresh();
  }

  open(name: string, then: { send?: readonly Message[]; text?: string } = {}): void {
    this.#then = then;
    location.hash = `#/${name}`;
  }

  openNew(draft: Partial<Draft> = {}): void {
    this.#draft = { ...emptyDraft(), ...draft };
    if (this.#route === "") this.#show(new StartView(this, this.#draft));
    else location.hash = "#/";
  }

  toggleDetails(): void {
    this.#detailsWanted = !this.#details;
    this.#drawDetails();
  }

  toggleSidebar(): void {
    const open = !document.body.classList.contains("sidebar-open");
    document.body.classList.toggle("sidebar-open", open);
    this.#veil.hidden = !open;
    if (open) this.#sidebar.focusSearch();
  }

  /** Reads the lists anew, and tries again while the server cannot be reached. */
  async #refresh(): Promise<void> {
    clearTimeout(this.#later);
    try {
      await Promise.all([this.list.refresh(), this.catalogue.refresh()]);
    } catch (error) {
      const failure = error instanceof CallFailed ? error.failure : failureOf(error);
      if (failure.remedy === "again") this.#later = setTimeout(() => void this.#refresh(), RETRY);
      else toast(messageOf(error), "error");
    }
  }

  #go(): void {
    const route = location.hash.replace(/^#\/?/, "");
    if (route === this.#route) return;
    this.#route = route;
    const then = this.#then;
    this.#then = undefined;
    this.#closeDrawers();
    this.#sidebar.current = route;
    if (route === "models") this.#show(new ModelsView(this));
    else if (route === "usage") this.#show(new UsageView(this));
    else if (/^sessions\/[^/]+$/.test(route)) {
      const view = new ChatView(this, new Conversation(route));
      this.#show(view);
      if (then?.send?.length) view.send(then.send);
      if (then?.text) view.text = then.text;
    } else {
      this.#show(new StartView(this, this.#draft));
      this.#draft = emptyDraft();
    }
  }

  #show(view: View): void {
    this.#view?.close();
    this.#view = view;
    fill(this.#main, view.element);
    this.#drawDetails();
    if (!NARROW.matches) view.focus();
  }

  #drawDetails(): void {
    this.#details?.close();
    this.#details = undefined;
    const view = this.#view;
    const open = this.#detailsWanted && view instanceof ChatView;
    if (open) {
      this.#details = new Details(this, view.conversation);
      this.#beside.append(this.#details.element);
    }
    document.body.classList.toggle("details-open", open);
    this.#veil.hidden = !(open && NARROW.matches);
  }

  #closeDrawers(): void {
    document.body.classList.remove("sidebar-open");
    this.#veil.hidden = true;
    if (NARROW.matches && this.#details) this.toggleDetails();
  }

  #key(event: KeyboardEvent): void {
    const control = event.ctrlKey || event.metaKey;
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") {
      if (!this.#veil.hidden) this.#closeDrawers();
      else if (this.#view instanceof ChatView) this.#view.stop();
    } else if (control && event.key === "k") {
      event.preventDefault();
      if (NARROW.matches && !document.body.classList.contains("sidebar-open")) this.toggleSidebar();
      this.#sidebar.focusSearch();
    } else if (event.altKey && event.code === "KeyN") {
      event.preventDefault();
      this.openNew();
    } else if (control && event.key === ".") {
      event.preventDefault();
      this.toggleDetails();
    } else if (control && event.key === "/") {
      event.preventDefault();
      openShortcuts();
    }
  }
}

new Page();
