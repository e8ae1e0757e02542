/** The beginning of a conversation: the session is created with the first message. */
import { createSession, userMessage } from "../state/actions";
import type { Draft } from "../state/draft";
import { fill, freshId, h } from "../ui/dom";
import { attempt } from "../ui/toast";
import { header } from "./chat";
import { Composer } from "./composer";
import { ModelPicker } from "./modelpicker";
import type { Shell } from "./shell";

export class StartView {
  readonly element = h("div", { class: "chat start" });
  readonly #composer: Composer;
  readonly #picker: ModelPicker;

  constructor(
    readonly shell: Shell,
    readonly draft: Draft,
  ) {
    this.#picker = new ModelPicker(shell.catalogue, (model) => (draft.defaultModel = model));
    this.#picker.value = draft.defaultModel;
    this.#composer = new Composer({
      send: (text) => void this.#begin(text),
      sendResults: () => undefined,
      stop: () => undefined,
      editLast: () => undefined,
    });
    const id = freshId();
    const instruction = h("textarea", { id, rows: 3, placeholder: "You are a helpful assistant…" });
    instruction.value = draft.systemInstruction;
    instruction.addEventListener("input", () => (draft.systemInstruction = instruction.value));
    document.title = "contextprotocol";
    const welcome = h(
      "div",
      { class: "empty welcome" },
      h("h2", {}, "What shall we talk about?"),
      h(
        "p",
        {},
        "This is the console of contextprotocol: chat with memory over swappable providers. The server keeps each session, " +
          "so you can change the model at any time, go on from another device, or fork a conversation at any message.",
      ),
      h(
        "details",
        { class: "fold", open: draft.systemInstruction !== "" },
        h("summary", {}, "System instruction"),
        h("label", { for: id, class: "hidden" }, "System instruction"),
        instruction,
      ),
    );
    fill(
      this.element,
      header(shell, h("h1", {}, "New chat"), this.#picker.element),
      h("div", { class: "body" }, h("div", { class: "log" }, welcome), this.#composer.element),
    );
  }

  close(): void {
    this.#picker.close();
  }

  focus(): void {
    this.#composer.focus();
  }

  async #begin(text: string): Promise<void> {
    this.#composer.setBusy(true);
    const begun = await attempt(async () => {
      const session = await createSession(this.draft, text);
      this.shell.list.put(session);
      this.shell.open(session.name, { send: [userMessage(text)] });
    });
    if (begun) return;
    this.#composer.setBusy(false);
    this.#composer.text = text;
  }
}
