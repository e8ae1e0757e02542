/** The messages of a conversation. */
import type { Conversation } from "../state/conversation";
import type { TurnCompleted } from "../gen/contextprotocol/v1/turn_pb";
import type { Message } from "../gen/contextprotocol/v1/message_pb";
import { announce } from "../ui/announce";
import { fill, h } from "../ui/dom";
import { icon } from "../ui/icons";
import { attempt } from "../ui/toast";
import { LiveView, type LiveActions } from "./live";
import { type MessageActions, messageView } from "./message";
import { textOf } from "../state/actions";

export class Log {
  readonly element = h("section", { class: "log", role: "log", "aria-live": "off", "aria-label": "Conversation", tabindex: 0 });
  readonly #column = h("div", { class: "column" });
  readonly #earlier = h("div", { class: "earlier" });
  readonly #history = h("div", { class: "contents" });
  readonly #below = h("div", { class: "contents" });
  readonly #down = h("button", { type: "button", class: "jump", "aria-label": "To the newest message", hidden: true }, icon("down"));
  readonly #views = new Map<string, HTMLElement>();
  readonly #completed = new Map<string, TurnCompleted>();
  #live: LiveView | undefined;
  #sticks = true;

  constructor(
    readonly conversation: Conversation,
    readonly actions: MessageActions,
    readonly liveActions: LiveActions,
  ) {
    this.#column.append(this.#earlier, this.#history, this.#below);
    this.element.append(this.#column, this.#down);
    this.element.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#down.addEventListener("click", () => this.toEnd(true));
    new ResizeObserver(() => this.#sticks && this.toEnd()).observe(this.#column);
  }

  close(): void {
    this.#live?.close();
  }

  toEnd(smooth = false): void {
    this.#sticks = true;
    this.element.scrollTo({ top: this.element.scrollHeight, behavior: smooth ? "smooth" : "instant" });
  }

  #scrolled(): void {
    const { scrollTop, scrollHeight, clientHeight } = this.element;
    this.#sticks = scrollHeight - scrollTop - clientHeight < 48;
    this.#down.hidden = this.#sticks;
  }

  messages(): void {
    const { conversation } = this;
    const shown = new Set<string>();
    const nodes = conversation.messages.map((message) => {
      const key = `${message.index} ${message.id}`;
      shown.add(key);
      let view = this.#views.get(key);
      if (!view) {
        view = messageView(message, this.actions, this.#completed.get(message.turn));
        this.#views.set(key, view);
      }
      return view;
    });
    for (const key of this.#views.keys()) if (!shown.has(key)) this.#views.delete(key);
    const before = this.element.scrollHeight - this.element.scrollTop;
    const first = this.#history.firstElementChild;
    place(this.#history, nodes);
    if (first && this.#history.firstElementChild !== first && !this.#sticks) {
      this.element.scrollTop = this.element.scrollHeight - before; // earlier messages came before those in view
    }
    const more = h("button", { type: "button", class: "small quiet" }, "Show earlier messages");
    more.addEventListener("click", () => {
      more.disabled = true;
      this.#sticks = false;
      void attempt(() => conversation.loadEarlier());
    });
    fill(this.#earlier, conversation.earlier ? more : null);
    this.live();
  }

  live(): void {
    const { live, messages } = this.conversation;
    if (this.#live && this.#live.live !== live) {
      this.#ended(this.#live);
      this.#live = undefined;
    }
    const inHistory = live?.turn ? messages.some((message: Message) => message.turn === live.turn) : false;
    if (live?.answer.completed && live.turn) this.#completed.set(live.turn, live.answer.completed);
    if (live && !this.#live) {
      this.#live = new LiveView(live, this.liveActions);
      this.#below.append(this.#live.element);
      if (live.running) announce("Answering");
      this.toEnd();
    } else if (this.#live) this.#live.update();
    if (this.#live) this.#live.element.hidden = inHistory;
  }

  tokens(): void {
    this.#live?.tokens();
  }

  #ended(view: LiveView): void {
    view.close();
    const last = this.conversation.messages.at(-1);
    if (last && last.turn === view.live.turn) announce(`Answer: ${textOf(last).slice(0, 2000)}`);
  }
}

/** Makes the nodes the children, and leaves alone what is in its place already. */
function place(parent: Element, nodes: readonly Element[]): void {
  const wanted = new Set(nodes);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, index) => {
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
  });
}
