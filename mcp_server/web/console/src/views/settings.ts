/** The session itself: its instruction, labels and expiry. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { DurationSchema } from "@bufbuild/protobuf/wkt";

import { sessions } from "../api/clients";
import { call } from "../api/retry";
import { dateOf, fromNow, milliseconds, written } from "../api/time";
import { type Session, SessionSchema } from "../gen/contextprotocol/v1/session_pb";
import type { Conversation } from "../state/conversation";
import { idOf, titleOf } from "../state/sessions";
import { copyButton } from "../ui/copy";
import { choose } from "../ui/dialog";
import { fill, freshId, h } from "../ui/dom";
import { icon } from "../ui/icons";
import { visible } from "../ui/text";
import { attempt, toast } from "../ui/toast";
import type { Shell } from "./shell";
import { type LabelRow, labelEditor } from "./labels";

const UNITS: readonly (readonly [string, number])[] = [
  ["minutes", 60],
  ["hours", 3600],
  ["days", 86400],
];

export class SettingsView {
  readonly element = h("div", { class: "stack sections" });
  #drawn = "";

  constructor(
    readonly shell: Shell,
    readonly conversation: Conversation,
  ) {}

  update(): void {
    const { session } = this.conversation;
    if (!session) return;
    const drawn = JSON.stringify([session.name, session.systemInstruction, session.labels, `${session.ttl?.seconds}`, `${session.expireTime?.seconds}`, session.parent]);
    if (drawn === this.#drawn) return;
    if (this.element.contains(document.activeElement)) return; // somebody is writing here
    this.#drawn = drawn;
    fill(this.element, this.#facts(session), this.#instruction(session), this.#labels(session), this.#expiry(session), this.#removal(session));
  }

  async #save(change: MessageInitShape<typeof SessionSchema>, path: string): Promise<void> {
    const { name } = this.conversation;
    const request = { session: create(SessionSchema, { ...change, name }), updateMask: { paths: [path] } };
    const saved = await attempt(async () => {
      const session = await call(() => sessions.updateSession(request));
      (document.activeElement as HTMLElement | null)?.blur();
      this.conversation.updated(session);
    });
    if (saved) toast("Saved");
  }

  #facts(session: Session): HTMLElement {
    const id = idOf(session.name);
    const parent = session.parent;
    return h(
      "dl",
      { class: "facts-list" },
      h("dt", {}, "Id"),
      h("dd", {}, h("code", {}, id), copyButton(() => id, "Copy id")),
      h("dt", {}, "Created"),
      h("dd", {}, written(dateOf(session.createTime))),
      h("dt", {}, "Changed"),
      h("dd", {}, written(dateOf(session.updateTime))),
      parent && [h("dt", {}, "Fork of"), h("dd", {}, h("a", { href: `#/${parent}` }, idOf(parent)))],
    );
  }

  #instruction(session: Session): HTMLElement {
    const id = freshId();
    const field = h("textarea", { id, rows: 5, placeholder: "None: the model gets the conversation alone." });
    field.value = session.systemInstruction;
    return form(
      [h("label", { for: id }, "System instruction"), field, h("p", { class: "note" }, "It precedes the conversation in every prompt, from the next turn on.")],
      () => this.#save({ systemInstruction: field.value }, "system_instruction"),
    );
  }

  #labels(session: Session): HTMLElement {
    const rows: LabelRow[] = Object.entries(session.labels).map(([key, value]) => ({ key, value }));
    const editor = labelEditor(rows);
    return form(
      [h("h3", {}, "Labels"), editor.element, h("p", { class: "note" }, "The label “title” is the name in the list.")],
      () => this.#save({ labels: editor.read() }, "labels"),
    );
  }

  #expiry(session: Session): HTMLElement {
    const id = freshId();
    const seconds = (milliseconds(session.ttl) ?? 0) / 1000;
    const [unit, size] = [...UNITS].reverse().find(([, one]) => seconds >= one && seconds % one === 0) ?? ["hours", 3600];
    const field = h("input", { id, type: "number", min: 0, step: "any", placeholder: "default" });
    field.value = seconds ? String(seconds / size) : "";
    const units = h("select", { "aria-label": "Unit" }, ...UNITS.map(([name, value]) => h("option", { value, selected: name === unit }, name)));
    const expires = dateOf(session.expireTime);
    const note = expires
      ? `Expires ${fromNow(expires)} (${written(expires)}) unless it is used before.`
      : "Never expires.";
    const save = (): Promise<void> => {
      const time = Number(field.value) * Number(units.value);
      const ttl = time > 0 ? create(DurationSchema, { seconds: BigInt(Math.round(time)) }) : undefined;
      return this.#save({ ttl }, "ttl");
    };
    return form(
      [h("label", { for: id }, "Expires without use after"), h("div", { class: "row" }, field, units), h("p", { class: "note" }, `${note} Empty: the server's default.`)],
      save,
    );
  }

  #removal(session: Session): HTMLElement {
    const remove = async (): Promise<void> => {
      const text = `“${visible(titleOf(session))}” is deleted with its messages, its context and its turns. Forks stay.`;
      const sure = await choose("Delete the session?", text, [{ label: "Delete", value: true, kind: "danger" }]);
      if (!sure) return;
      await attempt(async () => {
        await call(() => sessions.deleteSession({ name: session.name }));
        this.shell.list.remove(session.name);
        this.shell.openNew();
      });
    };
    return h("div", { class: "row" }, h("button", { type: "button", class: "danger small", onclick: () => void remove() }, icon("trash"), "Delete session"));
  }
}

function form(content: readonly Node[], save: () => Promise<void>): HTMLFormElement {
  const submit = h("button", { type: "submit", class: "small", hidden: true }, "Save");
  const element = h("form", { class: "stack" }, ...content, h("div", { class: "row end" }, submit));
  element.addEventListener("input", () => (submit.hidden = false));
  element.addEventListener("submit", (event) => {
    event.preventDefault();
    submit.disabled = true;
    void save().finally(() => (submit.disabled = false));
  });
  return element;
}
