/** Buttons that copy. */
import { h } from "./dom";
import { icon } from "./icons";
import { announce } from "./announce";

export function copyButton(text: () => string, label: string): HTMLButtonElement {
  const button = h("button", { type: "button", class: "quiet icon-button", title: label, "aria-label": label }, icon("copy"));
  button.addEventListener("click", () => {
    void copy(text()).then((copied) => {
      announce(copied ? "Copied" : "The browser does not let this page copy");
      button.replaceChildren(icon(copied ? "check" : "close"));
      setTimeout(() => button.replaceChildren(icon("copy")), 1500);
    });
  });
  return button;
}

async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copySelected(text); // a page without TLS
  }
}

function copySelected(text: string): boolean {
  const field = h("textarea", { class: "hidden", "aria-hidden": "true" });
  field.value = text;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  return copied;
}
