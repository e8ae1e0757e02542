/** Short notes at the bottom: what went wrong, or what was done. */
import { CallFailed } from "../api/retry";
import { failureOf } from "../api/failure";
import { h } from "./dom";
import { icon } from "./icons";
import { visible } from "./text";

const stack = h("div", { class: "toasts" });

export function toasts(): HTMLElement {
  return stack;
}

export function toast(text: string, kind: "note" | "error" = "note"): void {
  const close = h("button", { type: "button", class: "quiet icon-button", "aria-label": "Dismiss" }, icon("close"));
  const note = h("div", { class: `toast ${kind}`, role: kind === "error" ? "alert" : "status" }, visible(text), close);
  const remove = (): void => note.remove();
  close.addEventListener("click", remove);
  setTimeout(remove, kind === "error" ? 12_000 : 4000);
  stack.append(note);
}

/** Does something, and says so if it fails. */
export async function attempt(action: () => Promise<unknown>): Promise<boolean> {
  try {
    await action();
    return true;
  } catch (error) {
    toast(messageOf(error), "error");
    return false;
  }
}

export function messageOf(error: unknown): string {
  const failure = error instanceof CallFailed ? error.failure : failureOf(error);
  return ADVICE[failure.reason] ?? failure.message;
}

const ADVICE: Readonly<Record<string, string>> = {
  ETAG_MISMATCH: "The session has changed in the meantime. Look at it again, then repeat this.",
  SESSION_BUSY: "An answer is being written. Stop it or wait for it first.",
};
