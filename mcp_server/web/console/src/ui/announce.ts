/** What screen readers say: politely, and only what a person has to know. */
import { h } from "./dom";

const region = h("div", { role: "status", "aria-live": "polite", class: "hidden" });

export function announcer(): HTMLElement {
  return region;
}

export function announce(text: string): void {
  region.replaceChildren(h("p", {}, text));
}
