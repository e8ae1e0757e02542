/** A message of the history. */
import { FinishReason, type Message, Role } from "../gen/contextprotocol/v1/message_pb";
import { span, dateOf, written } from "../api/time";
import { type Child, h } from "../ui/dom";
import { type IconName, icon } from "../ui/icons";
import { count, visible } from "../ui/text";
import { copyButton } from "../ui/copy";
import { textOf } from "../state/actions";
import { partView } from "./parts";
import type { TurnCompleted } from "../gen/contextprotocol/v1/turn_pb";
import { milliseconds } from "../api/time";

export interface MessageActions {
  retry(message: Message): void;
  edit(message: Message, element: HTMLElement): void;
  fork(message: Message): void;
}

const AUTHORS: Readonly<Record<number, string>> = {
  [Role.USER]: "You",
  [Role.ASSISTANT]: "Answer",
  [Role.TOOL]: "Tool",
  [Role.SYSTEM]: "Instruction",
};
const KINDS: Readonly<Record<number, string>> = { [Role.USER]: "user", [Role.TOOL]: "tool-results" };

export function messageView(message: Message, actions: MessageActions, completed?: TurnCompleted): HTMLElement {
  const { role, parts } = message;
  const author = AUTHORS[role] ?? "Message";
  const answer = role === Role.ASSISTANT;
  const element = h("article", {
    class: `message ${KINDS[role] ?? "answer"}`,
    "aria-label": message.name ? `${author}, ${visible(message.name)}` : author,
    "data-index": message.index,
  });
  const content = h("div", { class: "content" });
  for (const part of parts) {
    const view = partView(part, answer);
    if (view) content.append(view);
  }
  const buttons = [
    textOf(message) && copyButton(() => textOf(message), "Copy message"),
    role === Role.USER && action("edit", "Edit and send again", () => actions.edit(message, element)),
    answer && action("retry", "Answer again", () => actions.retry(message)),
    action("fork", "Fork from here", () => actions.fork(message)),
  ];
  element.append(content, h("footer", {}, answer && metaView(message, completed), h("span", { class: "actions" }, ...buttons)));
  return element;
}

function action(name: IconName, label: string, run: () => void): HTMLButtonElement {
  return h(
    "button",
    { type: "button", class: "quiet icon-button", title: label, "aria-label": label, onclick: run },
    icon(name),
  );
}

const ENDS: Readonly<Record<number, string>> = {
  [FinishReason.LENGTH]: "cut at the length limit",
  [FinishReason.CONTENT_FILTER]: "the provider withheld the rest",
  [FinishReason.TOOL_CALLS]: "waits for tool results",
};

/** Who answered, how fast, and with how many tokens. */
function metaView(message: Message, completed: TurnCompleted | undefined): HTMLElement {
  const { usage } = message;
  const first = milliseconds(completed?.timeToFirstToken);
  const whole = milliseconds(completed?.duration);
  const tokens = Number(completed?.usage?.outputTokens ?? usage?.outputTokens ?? 0);
  const writing = (whole ?? 0) - (first ?? 0);
  const facts: Child[] = [
    message.model && h("span", { class: "model" }, visible(message.model)),
    first !== undefined && `first token ${span(first)}`,
    whole !== undefined && span(whole),
    first !== undefined && tokens > 1 && writing > 100 && `${Math.round(tokens / (writing / 1000)).toLocaleString()} tokens/s`,
    usage && `${count(usage.inputTokens)} → ${count(usage.outputTokens)} tokens`,
    ENDS[message.finishReason] && h("strong", {}, ENDS[message.finishReason]),
  ];
  const shown = facts.filter((fact) => fact !== false && fact !== undefined && fact !== "");
  return h(
    "span",
    { class: "meta", title: written(dateOf(message.createTime)) },
    ...shown.map((fact) => h("span", {}, fact)),
  );
}
