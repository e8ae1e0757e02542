/** The context of a session: named entries that the model sees, or that are only kept. */
import { create, fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";

import { sessions } from "../api/clients";
import { call } from "../api/retry";
import { type ContextEntry, ContextEntry_Visibility, ContextEntrySchema } from "../gen/contextprotocol/v1/context_pb";
import type { Conversation } from "../state/conversation";
import { type Modal, openDialog } from "../ui/dialog";
import { fill, freshId, h } from "../ui/dom";
import { icon } from "../ui/icons";
import { visible } from "../ui/text";
import { attempt, messageOf } from "../ui/toast";

export class ContextView {
  readonly element = h("div", { class: "stack" });

  constructor(readonly conversation: Conversation) {}

  update(): void {
    const { session } = this.conversation;
    if (!session) return;
    const entries = Object.entries(session.context).sort(([one], [other]) => one.localeCompare(other));
    const add = h("button", { type: "button", class: "small", onclick: () => this.#edit("", undefined) }, icon("plus"), "Add entry");
    fill(
      this.element,
      h("p", { class: "note" }, "What the model should know. Entries follow the instruction in every prompt, or are only stored."),
      ...entries.map(([name, entry]) => this.#card(name, entry)),
      !entries.length && h("p", { class: "hollow" }, "No entries yet."),
      h("div", { class: "row" }, add),
    );
  }

  #card(name: string, entry: ContextEntry): HTMLElement {
    const stored = entry.visibility === ContextEntry_Visibility.STORED;
    const edit = h("button", { type: "button", class: "quiet icon-button", "aria-label": `Edit ${visible(name)}` }, icon("edit"));
    const remove = h("button", { type: "button", class: "quiet icon-button", "aria-label": `Remove ${visible(name)}` }, icon("trash"));
    edit.addEventListener("click", () => this.#edit(name, entry));
    edit.disabled = entry.value.case === "data";
    remove.addEventListener("click", () => void attempt(() => this.#update({ removeContext: [name] })));
    return h(
      "section",
      { class: "card", "aria-label": visible(name) },
      h(
        "header",
        {},
        h("strong", {}, visible(name)),
        h("span", { class: "chip" }, visible(entry.type)),
        h("span", { class: `chip ${stored ? "" : "good"}` }, stored ? "stored" : "in prompts"),
        h("span", { class: "actions" }, edit, remove),
      ),
      h("pre", { tabindex: 0 }, visible(valueText(entry)).slice(0, 4000)),
    );
  }

  async #update(change: { removeContext?: string[]; setContext?: Record<string, ContextEntry> }): Promise<void> {
    const { name } = this.conversation;
    this.conversation.updated(await call(() => sessions.updateSession({ session: { name }, ...change })));
  }

  #edit(oldName: string, entry: ContextEntry | undefined): void {
    const ids = { name: freshId(), type: freshId(), value: freshId() };
    const name = h("input", { id: ids.name, required: true, pattern: "[a-zA-Z0-9][a-zA-Z0-9_.\\-]{0,127}", title: "Letters, digits and _ . -", value: oldName, placeholder: "name" });
    const types = ["text", "json", ...(entry && !["text", "json"].includes(entry.type) ? [entry.type] : [])];
    const type = h("select", { id: ids.type }, ...types.map((one) => h("option", { value: one, selected: one === entry?.type }, one)));
    const value = h("textarea", { id: ids.value, rows: 10, class: "mono", required: true, spellcheck: "false" });
    value.value = entry ? valueText(entry) : "";
    const inPrompt = h("input", { type: "checkbox", checked: entry?.visibility !== ContextEntry_Visibility.STORED });
    const problem = h("p", { class: "problem", role: "alert" });
    const form = h(
      "form",
      { class: "stack" },
      h("div", { class: "row" }, h("div", { class: "stack tight grow" }, h("label", { for: ids.name }, "Name"), name), h("div", { class: "stack tight" }, h("label", { for: ids.type }, "Type"), type)),
      h("label", { for: ids.value }, "Value"),
      value,
      h("label", { class: "check" }, inPrompt, "Part of every prompt"),
      problem,
      h("footer", {}, h("button", { type: "submit", class: "primary" }, "Save")),
    );
    const modal: Modal = openDialog(oldName ? "Edit entry" : "New entry", [form], { wide: true });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void save();
    });
    const save = async (): Promise<void> => {
      const visibility = inPrompt.checked ? ContextEntry_Visibility.PROMPT : ContextEntry_Visibility.STORED;
      try {
        const setContext = { [name.value]: entryOf(type.value, value.value, visibility) };
        await this.#update({ setContext, removeContext: oldName && oldName !== name.value ? [oldName] : [] });
        modal.close();
      } catch (error) {
        problem.textContent = error instanceof SyntaxError ? `This is not JSON: ${error.message}` : visible(messageOf(error));
      }
    };
  }
}

function valueText({ value }: ContextEntry): string {
  switch (value.case) {
    case "text":
      return value.value;
    case "json":
      return JSON.stringify(toJson(ValueSchema, value.value), null, 2);
    case "data":
      return `${value.value.mimeType}, ${value.value.content.length.toLocaleString()} bytes`;
    default:
      return "";
  }
}

function entryOf(type: string, text: string, visibility: ContextEntry_Visibility): ContextEntry {
  if (type !== "json") return create(ContextEntrySchema, { type, visibility, value: { case: "text", value: text } });
  const value = fromJson(ValueSchema, JSON.parse(text) as JsonValue);
  return create(ContextEntrySchema, { type, visibility, value: { case: "json", value } });
}
