/** Who the caller is, and what is left of the limits. */
import { keys } from "../api/clients";
import { storedKey, storeKey } from "../api/key";
import { call } from "../api/retry";
import { dateOf, fromNow } from "../api/time";
import type { LimitState } from "../gen/contextprotocol/v1/key_pb";
import { type Modal, openDialog } from "../ui/dialog";
import { fill, h } from "../ui/dom";
import { keyDialog } from "../ui/keydialog";
import { count, visible } from "../ui/text";
import { messageOf } from "../ui/toast";

export function openAccount(): void {
  const content = h("div", { class: "stack" }, h("p", { class: "note" }, "Asking the server…"));
  const modal = openDialog("Account", [content]);
  void show(content, modal);
}

async function show(content: HTMLElement, modal: Modal): Promise<void> {
  try {
    const who = await call(() => keys.whoAmI({}));
    const facts: [string, string][] = [
      ["Tenant", who.tenant || "–"],
      ["Key", who.key.replace(/^keys\//, "") || "none"],
      ["May", who.scopes.join(", ") || "–"],
      ["Models", who.models.join(", ") || "all"],
    ];
    fill(
      content,
      h("dl", { class: "facts-list" }, ...facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, visible(value))])),
      who.limits.length ? h("h3", {}, "Limits") : h("p", { class: "note" }, "No limits apply."),
      ...who.limits.map(limitView),
      h(
        "footer",
        {},
        storedKey() && h("button", { type: "button", class: "quiet", onclick: forget }, "Forget the key"),
        h("button", { type: "button", onclick: () => change(modal) }, storedKey() ? "Use another key" : "Use a key"),
      ),
    );
  } catch (error) {
    fill(content, h("p", { class: "problem" }, visible(messageOf(error))));
  }
}

function forget(): void {
  storeKey("");
  location.reload();
}

function change(modal: Modal): void {
  modal.close();
  void keyDialog("", { optional: true }).then((changed) => changed && location.reload());
}

function limitView(state: LimitState): HTMLElement {
  const used = Number(state.used);
  const allowed = Number(state.allowed);
  const reset = dateOf(state.resetTime);
  const money = state.limit.startsWith("cost_nanos");
  const show = (value: bigint): string => (money ? (Number(value) / 1e9).toLocaleString() : count(value));
  const name = state.limit.replace("cost_nanos", "cost").replaceAll("_", " ");
  return h(
    "div",
    { class: "limit" },
    h("span", {}, `${name}, ${visible(state.subject.replace("/", " "))}`),
    h("span", {}, `${show(state.remaining)} of ${show(state.allowed)} left`, reset ? `, more ${fromNow(reset)}` : ""),
    h("meter", { min: 0, max: allowed || 1, value: Math.min(used, allowed), high: allowed * 0.9, "aria-label": `Used of ${name}` }),
  );
}
