/** A conversation, or the beginning of one. */
import { sessions } from "../api/clients";
import { call } from "../api/retry";
import type { Message } from "../gen/contextprotocol/v1/message_pb";
import { Role } from "../gen/contextprotocol/v1/message_pb";
import * as actions from "../state/actions";
import type { Change, Conversation } from "../state/conversation";
import { Follower } from "../state/follower";
import { idOf, titleOf } from "../state/sessions";
import { choose } from "../ui/dialog";
import { fill, h } from "../ui/dom";
import { icon } from "../ui/icons";
import { visible } from "../ui/text";
import { attempt, toast } from "../ui/toast";
import { Composer } from "./composer";
import { openEditor } from "./edit";
import { Log } from "./log";
import { ModelPicker } from "./modelpicker";
import type { Shell } from "./shell";

export class ChatView {
  readonly element = h("div", { class: "chat" });
  readonly follower: Follower;
  readonly #title = h("h1");
  readonly #composer: Composer;
  readonly #log: Log;
  readonly #picker: ModelPicker;
  readonly #body = h("div", { class: "body" });
  readonly #unfollow: () => void;

  constructor(
    readonly shell: Shell,
    readonly conversation: Conversation,
  ) {
    this.#picker = new ModelPicker(shell.catalogue, (model) => void this.#setModel(model));
    this.#composer = new Composer({
      send: (text) => this.send([actions.userMessage(text)]),
      sendResults: (results) => this.send(actions.toolMessages(results)),
      stop: () => this.stop(),
      editLast: () => this.#editLast(),
    });
    this.#log = new Log(
      conversation,
      {
        retry: (message) => void this.#retry(message),
        edit: (message, element) => this.#edit(message, element),
        fork: (message) => void this.#fork(message),
      },
      {
        again: () => this.send(conversation.live?.request?.messages ?? []),
        takeBack: () => this.#takeBack(),
        dismiss: () => conversation.setLive(undefined),
      },
    );
    this.#body.append(this.#log.element, this.#composer.element);
    fill(this.element, header(shell, this.#title, this.#picker.element, detailsButton(shell)), this.#body);
    this.#unfollow = conversation.changes.follow((change) => this.#changed(change));
    this.follower = new Follower(conversation);
    this.#changed("session");
    this.#changed("live");
  }

  close(): void {
    this.#unfollow();
    this.follower.stop();
    this.#picker.close();
    this.#log.close();
  }

  focus(): void {
    this.#composer.focus();
  }

  set text(text: string) {
    this.#composer.text = text;
  }

  send(messages: readonly Message[]): void {
    if (!messages.length) return;
    actions.send(this.conversation, this.follower, messages);
    this.#log.toEnd();
  }

  stop(): void {
    if (this.conversation.busy) void attempt(() => actions.stop(this.conversation));
  }

  #changed(change: Change): void {
    const { conversation } = this;
    if (change === "tokens") {
      this.#log.tokens();
      return;
    }
    if (change === "messages") this.#log.messages();
    if (change === "live") this.#log.live();
    if (change === "session") this.#session();
    this.#composer.setBusy(conversation.busy);
    this.#composer.setCalls(conversation.busy ? [] : actions.openCalls(conversation.messages));
    this.element.classList.toggle("loading", !conversation.loaded);
  }

  #session(): void {
    const { conversation, shell } = this;
    const { session } = conversation;
    const known = session ?? shell.list.value.sessions.find(({ name }) => name === conversation.name);
    const title = visible(known ? titleOf(known) : idOf(conversation.name));
    this.#title.textContent = title;
    document.title = `${title} · contextprotocol`;
    if (session) {
      this.#picker.value = session.defaultModel;
      shell.list.put(session);
    }
    if (conversation.gone) {
      shell.list.remove(conversation.name);
      this.#instead("This session is gone", "It was deleted, has expired, or belongs to somebody else.");
    } else if (conversation.problem) this.#instead("This session cannot be read", conversation.problem.message);
  }

  #instead(title: string, text: string): void {
    const start = h("button", { type: "button", class: "primary", onclick: () => this.shell.openNew() }, "New chat");
    fill(this.#body, h("div", { class: "empty" }, h("h2", {}, title), h("p", {}, visible(text)), start));
  }

  async #setModel(defaultModel: string): Promise<void> {
    const { name } = this.conversation;
    const request = { session: { name, defaultModel }, updateMask: { paths: ["default_model"] } };
    await attempt(async () => this.conversation.updated(await call(() => sessions.updateSession(request))));
  }

  /** Answers once more: instead of the old answer, or in a fork. */
  async #retry(message: Message): Promise<void> {
    const { conversation } = this;
    const { start, input } = actions.inputOf(conversation.messages, message);
    const later = (conversation.messages.at(-1)?.index ?? 0) - message.index;
    let target: "here" | "fork" | undefined = "here";
    if (later) {
      const text = `Answering again here removes this answer and the ${later} messages after it.`;
      target = await choose("Answer again", text, [
        { label: "In a fork", value: "fork" },
        { label: "Here", value: "here", kind: "danger" },
      ]);
    }
    if (target) await this.#replace(start, input, target);
  }

  async #replace(start: number, input: readonly Message[], target: "here" | "fork"): Promise<boolean> {
    return attempt(async () => {
      if (target === "fork") {
        const session = await actions.fork(this.conversation, start);
        this.shell.list.put(session);
        this.shell.open(session.name, { send: input });
      } else {
        await actions.rewind(this.conversation, start);
        this.send(input);
      }
    });
  }

  #edit(message: Message, element: HTMLElement): void {
    const later = (this.conversation.messages.at(-1)?.index ?? 0) - message.index;
    openEditor(element, actions.textOf(message), later, (text, target) => {
      void this.#replace(message.index, [actions.userMessage(text)], target).then((done) => {
        if (!done) this.#composer.text = text; // nothing that was written is lost
      });
    });
  }

  #editLast(): void {
    const buttons = this.element.querySelectorAll<HTMLButtonElement>(".message.user button[aria-label^='Edit']");
    buttons[buttons.length - 1]?.click();
  }

  /** A fork with the messages up to this one; before a question, with its text to edit. */
  async #fork(message: Message): Promise<void> {
    const question = message.role === Role.USER;
    await attempt(async () => {
      const session = await actions.fork(this.conversation, question ? message.index : message.index + 1);
      this.shell.list.put(session);
      this.shell.open(session.name, { text: question ? actions.textOf(message) : "" });
      toast("This is the fork. The session that it comes from is unchanged.");
    });
  }

  #takeBack(): void {
    const { conversation } = this;
    this.#composer.text = (conversation.live?.request?.messages ?? []).map(actions.textOf).join("\n\n");
    conversation.setLive(undefined);
    this.#composer.focus();
  }
}

export function header(shell: Shell, title: HTMLElement, ...tools: readonly Node[]): HTMLElement {
  const menu = h("button", { type: "button", class: "quiet icon-button only-narrow", "aria-label": "Sessions" }, icon("menu"));
  menu.addEventListener("click", () => shell.toggleSidebar());
  return h("header", { class: "bar" }, menu, title, h("div", { class: "tools" }, ...tools));
}

function detailsButton(shell: Shell): HTMLElement {
  const button = h(
    "button",
    { type: "button", class: "quiet icon-button", "aria-label": "Session details", title: "Session details (Ctrl+.)" },
    icon("panel"),
  );
  button.addEventListener("click", () => shell.toggleDetails());
  return button;
}
