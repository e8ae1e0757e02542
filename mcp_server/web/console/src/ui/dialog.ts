/** Modal dialogs. The browser keeps the focus inside, and Esc closes them. */
import { type Child, freshId, h } from "./dom";
import { icon } from "./icons";

export interface Modal {
  readonly element: HTMLDialogElement;
  close(): void;
}

export function openDialog(title: string, content: readonly Child[], options: { must?: boolean; wide?: boolean } = {}): Modal {
  const id = freshId();
  const closer = h("button", { type: "button", class: "quiet icon-button", "aria-label": "Close" }, icon("close"));
  const element = h(
    "dialog",
    { "aria-labelledby": id, class: options.wide ? "wide" : "" },
    h("header", {}, h("h2", { id }, title), !options.must && closer),
    ...content,
  );
  const close = (): void => element.close();
  closer.addEventListener("click", close);
  element.addEventListener("cancel", (event) => {
    if (options.must) event.preventDefault();
  });
  element.addEventListener("click", (event) => {
    if (event.target === element && !options.must) close();
  });
  element.addEventListener("close", () => element.remove());
  document.body.append(element);
  element.showModal();
  return { element, close };
}

export interface Choice<T> {
  readonly label: string;
  readonly value: T;
  readonly kind?: "primary" | "danger";
}

/** Asks for a decision; undefined if the dialog was closed. */
export function choose<T>(title: string, text: string, choices: readonly Choice<T>[]): Promise<T | undefined> {
  return new Promise((resolve) => {
    let chosen: T | undefined;
    const buttons = choices.map(({ label, value, kind }) =>
      h(
        "button",
        {
          type: "button",
          class: kind ?? "",
          onclick: () => {
            chosen = value;
            modal.close();
          },
        },
        label,
      ),
    );
    const cancel = h("button", { type: "button", class: "quiet", onclick: () => modal.close() }, "Cancel");
    const modal = openDialog(title, [h("p", {}, text), h("footer", {}, cancel, ...buttons)]);
    modal.element.addEventListener("close", () => resolve(chosen));
  });
}
