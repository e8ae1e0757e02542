/** Edits a message that was sent. */
import { fill, h } from "../ui/dom";

/** "here": instead of what follows. "fork": in a new session. */
export type EditTarget = "here" | "fork";

export function openEditor(
  element: HTMLElement,
  text: string,
  later: number,
  done: (text: string, target: EditTarget) => void,
): void {
  const before = [...element.childNodes];
  const field = h("textarea", { class: "editor", "aria-label": "Edit the message", rows: 3 });
  field.value = text;
  const close = (): void => element.replaceChildren(...before);
  const finish = (target: EditTarget): void => {
    if (!field.value.trim()) return;
    close();
    done(field.value, target);
  };
  const note = later
    ? `Sending here removes the ${later === 1 ? "message" : `${later} messages`} after it. A fork keeps this session as it is.`
    : "";
  fill(
    element,
    field,
    note && h("p", { class: "note" }, note),
    h(
      "div",
      { class: "row end" },
      h("button", { type: "button", class: "small quiet", onclick: close }, "Cancel"),
      h("button", { type: "button", class: "small", onclick: () => finish("fork") }, "Send in a fork"),
      h("button", { type: "button", class: "small primary", onclick: () => finish("here") }, "Send here"),
    ),
  );
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      close();
    } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      finish("here");
    }
  });
  element.scrollIntoView({ block: "nearest" });
  field.focus();
  field.setSelectionRange(text.length, text.length);
}
