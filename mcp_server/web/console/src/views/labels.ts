/** Edits labels. */
import { h } from "../ui/dom";
import { icon } from "../ui/icons";

export interface LabelRow {
  readonly key: string;
  readonly value: string;
}

export function labelEditor(labels: readonly LabelRow[]): { element: HTMLElement; read(): Record<string, string> } {
  const rows = h("div", { class: "stack tight" });
  const element = h("div", { class: "stack tight" }, rows);
  const changed = (): boolean => element.dispatchEvent(new Event("input", { bubbles: true }));
  const add = ({ key, value }: LabelRow): HTMLElement => {
    const remove = h("button", { type: "button", class: "quiet icon-button", "aria-label": "Remove label" }, icon("close"));
    const row = h(
      "div",
      { class: "row label" },
      h("input", { value: key, placeholder: "key", "aria-label": "Label", pattern: "[a-z][a-z0-9_.\\/\\-]{0,62}", title: "Lower-case letters, digits and _ . - /" }),
      h("input", { value, placeholder: "value", "aria-label": "Value of the label", maxlength: 128 }),
      remove,
    );
    remove.addEventListener("click", () => {
      row.remove();
      changed();
    });
    rows.append(row);
    return row;
  };
  labels.forEach(add);
  const more = h("button", { type: "button", class: "small quiet" }, icon("plus"), "Add label");
  more.addEventListener("click", () => add({ key: "", value: "" }).querySelector("input")?.focus());
  element.append(h("div", { class: "row" }, more));
  const read = (): Record<string, string> => {
    const found: Record<string, string> = {};
    for (const row of rows.children) {
      const [key, value] = [...row.querySelectorAll("input")].map((field) => field.value);
      if (key) found[key] = value ?? "";
    }
    return found;
  };
  return { element, read };
}
