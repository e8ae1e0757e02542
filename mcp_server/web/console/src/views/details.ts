/** Beside a conversation: the session, its context and its turns. */
import type { Conversation } from "../state/conversation";
import { fill, freshId, h } from "../ui/dom";
import { icon } from "../ui/icons";
import { ContextView } from "./context";
import { SettingsView } from "./settings";
import type { Shell } from "./shell";
import { TimelineView } from "./timeline";

interface Section {
  readonly element: HTMLElement;
  /** The section has come into view, or the session has changed. */
  update(): void;
}

export class Details {
  readonly element: HTMLElement;
  readonly #sections: readonly (readonly [string, Section])[];
  readonly #panel: HTMLElement;
  readonly #tabs: readonly HTMLButtonElement[];
  readonly #unfollow: () => void;
  #shown = 0;

  constructor(
    readonly shell: Shell,
    readonly conversation: Conversation,
  ) {
    this.#sections = [
      ["Session", new SettingsView(shell, conversation)],
      ["Context", new ContextView(conversation)],
      ["Turns", new TimelineView(conversation)],
    ];
    const panel = freshId();
    this.#panel = h("div", { id: panel, role: "tabpanel", class: "panel", tabindex: 0 });
    this.#tabs = this.#sections.map(([name], index) =>
      h("button", { type: "button", role: "tab", "aria-controls": panel, onclick: () => this.#show(index) }, name),
    );
    const close = h("button", { type: "button", class: "quiet icon-button", "aria-label": "Close details" }, icon("close"));
    close.addEventListener("click", () => shell.toggleDetails());
    const tabs = h("div", { role: "tablist", "aria-label": "Session details" }, ...this.#tabs);
    tabs.addEventListener("keydown", (event) => this.#key(event));
    this.element = h("aside", { class: "details", "aria-label": "Session details" }, h("header", {}, tabs, close), this.#panel);
    this.#unfollow = conversation.changes.follow((change) => {
      if (change === "session" || change === "live") this.#sections[this.#shown]?.[1].update();
    });
    this.#show(0);
  }

  close(): void {
    this.#unfollow();
    this.element.remove();
  }

  #show(index: number): void {
    const section = this.#sections[index]?.[1];
    if (!section) return;
    this.#shown = index;
    this.#tabs.forEach((tab, place) => {
      tab.setAttribute("aria-selected", String(place === index));
      tab.tabIndex = place === index ? 0 : -1;
    });
    fill(this.#panel, section.element);
    section.update();
  }

  #key(event: KeyboardEvent): void {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = (this.#shown + step + this.#tabs.length) % this.#tabs.length;
    this.#show(next);
    this.#tabs[next]?.focus();
  }
}
