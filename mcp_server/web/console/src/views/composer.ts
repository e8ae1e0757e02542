/** Where a person writes. */
import { fill, freshId, h } from "../ui/dom";
import { icon } from "../ui/icons";
import { prettyJson, visible } from "../ui/text";
import { codeView } from "./parts";

export interface ToolResultDraft {
  readonly id: string;
  readonly text: string;
  readonly failed: boolean;
}

export interface ComposerActions {
  send(text: string): void;
  sendResults(results: readonly ToolResultDraft[]): void;
  stop(): void;
  editLast(): void;
}

export class Composer {
  readonly #field: HTMLTextAreaElement;
  readonly #send = h("button", { type: "submit", class: "round primary", title: "Send (Enter)", "aria-label": "Send" }, icon("send"));
  readonly #stop = h("button", { type: "button", class: "round primary", title: "Stop (Esc)", "aria-label": "Stop" }, icon("stop"));
  readonly #results = h("div", { class: "results" });
  readonly #box: HTMLElement;
  readonly element: HTMLFormElement;
  #busy = false;
  #calls = "";

  constructor(readonly actions: ComposerActions) {
    const id = freshId();
    this.#field = h("textarea", { id, rows: 1, placeholder: "Write a message…", enterkeyhint: "send" });
    this.#box = h(
      "div",
      { class: "box" },
      h("label", { for: id, class: "hidden" }, "Message"),
      this.#field,
      this.#stop,
      this.#send,
    );
    this.element = h("form", { class: "composer" }, this.#results, this.#box);
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#field.addEventListener("input", () => this.#fit());
    this.#field.addEventListener("keydown", (event) => this.#key(event));
    this.#stop.addEventListener("click", () => actions.stop());
    this.setBusy(false);
  }

  set text(text: string) {
    this.#field.value = text;
    this.#fit();
  }

  focus(): void {
    this.#field.focus();
  }

  setBusy(busy: boolean): void {
    this.#busy = busy;
    this.#stop.hidden = !busy;
    this.#send.hidden = busy;
  }

  /** Asks for the results of tool calls instead of a message. */
  setCalls(calls: readonly { id: string; name: string; argumentsJson: string }[]): void {
    const ids = calls.map(({ id }) => id).join("\n");
    if (ids === this.#calls) return;
    this.#calls = ids;
    this.#box.hidden = calls.length > 0;
    if (!calls.length) {
      this.#results.replaceChildren();
      return;
    }
    const fields = calls.map(({ id, name, argumentsJson }) => {
      const label = freshId();
      const text = h("textarea", { id: label, rows: 2, placeholder: "Result, as text or JSON" });
      const failed = h("input", { type: "checkbox" });
      const view = h(
        "div",
        { class: "stack" },
        h("label", { for: label }, `Result of ${visible(name)}`),
        codeView(prettyJson(argumentsJson), "Copy arguments"),
        text,
        h("label", { class: "check" }, failed, "The tool failed"),
      );
      return { view, read: () => ({ id, text: text.value, failed: failed.checked }) };
    });
    const send = (): void => this.actions.sendResults(fields.map(({ read }) => read()));
    fill(
      this.#results,
      h("p", { class: "note" }, "The model waits for the results of the tools that it called. Write them here to go on."),
      ...fields.map(({ view }) => view),
      h("div", { class: "row end" }, h("button", { type: "button", class: "primary", onclick: send }, "Send results")),
    );
  }

  #submit(): void {
    const text = this.#field.value;
    if (this.#busy || !text.trim()) return;
    this.text = "";
    this.actions.send(text);
  }

  #key(event: KeyboardEvent): void {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.#submit();
    } else if (event.key === "ArrowUp" && !this.#field.value) {
      event.preventDefault();
      this.actions.editLast();
    }
  }

  #fit(): void {
    this.#field.style.height = "auto";
    this.#field.style.height = `${Math.min(this.#field.scrollHeight, innerHeight * 0.4)}px`;
  }
}
