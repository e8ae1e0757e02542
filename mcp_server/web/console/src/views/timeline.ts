/** The turns of a session, and what each call to a provider took. */
import { failureOfTurn } from "../api/failure";
import { turns } from "../api/clients";
import { call } from "../api/retry";
import { dateOf, fromNow, milliseconds, span, written } from "../api/time";
import { type Attempt, type Turn, TurnState } from "../gen/contextprotocol/v1/turn_pb";
import type { Conversation } from "../state/conversation";
import { fill, h } from "../ui/dom";
import { count, money, visible } from "../ui/text";
import { messageOf } from "../ui/toast";

const STATES: Readonly<Record<number, readonly [string, string]>> = {
  [TurnState.QUEUED]: ["queued", ""],
  [TurnState.RUNNING]: ["running", "busy"],
  [TurnState.SUCCEEDED]: ["succeeded", "good"],
  [TurnState.FAILED]: ["failed", "bad"],
  [TurnState.CANCELLED]: ["cancelled", ""],
  [TurnState.INTERRUPTED]: ["interrupted", "bad"],
};

export class TimelineView {
  readonly element = h("div", { class: "stack" });
  #seen = "";
  #turns: Turn[] = [];
  #more = "";

  constructor(readonly conversation: Conversation) {}

  update(): void {
    const { session, live } = this.conversation;
    const seen = `${session?.etag} ${live?.turn} ${live?.state}`;
    if (seen === this.#seen) return;
    this.#seen = seen;
    void this.#load("");
  }

  async #load(pageToken: string): Promise<void> {
    try {
      const request = { parent: this.conversation.name, pageSize: 30, pageToken };
      const page = await call(() => turns.listTurns(request));
      this.#turns = pageToken ? [...this.#turns, ...page.turns] : page.turns;
      this.#more = page.nextPageToken;
      this.#draw();
    } catch (error) {
      fill(this.element, h("p", { class: "problem" }, visible(messageOf(error))));
    }
  }

  #draw(): void {
    const more = h("button", { type: "button", class: "small quiet", onclick: () => void this.#load(this.#more) }, "Show older turns");
    fill(
      this.element,
      h("p", { class: "note" }, "Each turn with its calls to providers. The server keeps turns for a while; the messages stay."),
      this.#turns.length ? h("ol", { class: "timeline" }, ...this.#turns.map(turnView)) : h("p", { class: "hollow" }, "No turns are kept."),
      this.#more && more,
    );
  }
}

function turnView(turn: Turn): HTMLElement {
  const [state, kind] = STATES[turn.state] ?? ["", ""];
  const begun = dateOf(turn.createTime);
  const end = dateOf(turn.endTime) ?? new Date();
  const whole = begun ? Math.max(end.getTime() - begun.getTime(), 1) : 1;
  const tokens = turn.usage ? `${count(turn.usage.inputTokens)} → ${count(turn.usage.outputTokens)} tokens` : "";
  return h(
    "li",
    { class: "card" },
    h("header", {}, h("span", { class: `chip ${kind}` }, state), h("span", { class: "meta", title: written(begun) }, h("span", {}, begun ? fromNow(begun) : "–"), h("span", {}, span(whole)), tokens && h("span", {}, tokens))),
    ...turn.attempts.map((attempt) => attemptView(attempt, begun, whole)),
    turn.error && !turn.attempts.some(({ error }) => error) && h("p", { class: "problem" }, visible(failureOfTurn(turn.error).message)),
  );
}

/** A bar over the time of the turn: pale until the first token, then full. */
function attemptView(attempt: Attempt, begun: Date | undefined, whole: number): HTMLElement {
  const start = dateOf(attempt.startTime);
  const offset = begun && start ? Math.max(start.getTime() - begun.getTime(), 0) : 0;
  const duration = milliseconds(attempt.duration) ?? Math.max(whole - offset, 0);
  const first = milliseconds(attempt.timeToFirstToken);
  const percent = (time: number): string => `${Math.max(0, Math.min(100, (time / whole) * 100))}%`;
  const failed = attempt.error !== undefined;
  const bar = h("div", { class: `bar-track ${failed ? "bad" : ""}`, "aria-hidden": "true" });
  const waiting = h("span", { class: "waiting" });
  const writing = h("span", { class: "writing" });
  waiting.style.left = percent(offset);
  waiting.style.width = percent(first ?? duration);
  writing.style.left = percent(offset + (first ?? duration));
  writing.style.width = percent(first === undefined ? 0 : duration - first);
  bar.append(waiting, writing);
  const cost = money(attempt.costNanos, attempt.currency);
  const facts = [
    `first token ${span(first)}`,
    `took ${span(milliseconds(attempt.duration))}`,
    attempt.usage && `${count(attempt.usage.inputTokens)} → ${count(attempt.usage.outputTokens)} tokens`,
    cost,
  ].filter(Boolean);
  return h(
    "div",
    { class: "attempt" },
    h("div", { class: "who" }, h("strong", {}, visible(attempt.provider)), h("span", {}, visible(attempt.model))),
    bar,
    h("div", { class: "meta" }, ...facts.map((fact) => h("span", {}, fact))),
    failed && h("p", { class: "problem" }, visible(failureOfTurn(attempt.error).message)),
  );
}
