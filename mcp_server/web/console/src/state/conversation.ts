/** One session as the page shows it. */
import { sessions } from "../api/clients";
import { call } from "../api/retry";
import type { ChatRequest } from "../gen/contextprotocol/v1/chat_pb";
import type { Message } from "../gen/contextprotocol/v1/message_pb";
import type { Session } from "../gen/contextprotocol/v1/session_pb";
import { type Turn, type TurnEvent, TurnState } from "../gen/contextprotocol/v1/turn_pb";
import { failureOfTurn, type Failure } from "../api/failure";
import { Live } from "./live";
import { dropPending, pendingOf, savePending } from "./pending";
import { Signal } from "./signal";

/** What changed: the session, its history, the turn that runs, or only the tokens of its answer. */
export type Change = "session" | "messages" | "live" | "tokens";

const PAGE = 50;
/** How many messages are read when some are there already. */
const NEWEST = 10;

export class Conversation {
  readonly changes = new Signal<Change>("session");
  session: Session | undefined;
  messages: Message[] = [];
  /** Marks the messages before those that are loaded; empty if there are none. */
  earlier = "";
  live: Live | undefined;
  /** The session was deleted, or has expired. */
  gone = false;
  loaded = false;
  /** Why the session cannot be read, for example because the key lacks a scope. */
  problem: Failure | undefined;
  /** The etag with which the context was read. */
  contextEtag = "";
  #earlierSize = PAGE;
  #historyEtag = "";

  constructor(readonly name: string) {
    const request = pendingOf(name);
    if (request) this.live = new Live(request);
  }

  /** Whether there is a turn to follow. */
  get busy(): boolean {
    return this.live?.running ?? false;
  }

  send(request: ChatRequest): void {
    savePending(request);
    this.setLive(new Live(request));
  }

  setLive(live: Live | undefined): void {
    this.live = live;
    this.changes.set("live");
  }

  /** Takes the state of the session, with its turns that have not ended, and reads what is new in its history. */
  async current(session: Session, running: readonly Turn[]): Promise<void> {
    if (this.session && session.etag === this.contextEtag) {
      session.context = this.session.context; // left out, because this page has them
      session.metadata = this.session.metadata;
    }
    this.session = session;
    this.contextEtag = session.etag;
    if (!this.loaded || this.#historyEtag !== session.etag) await this.refresh(session.etag);
    this.changes.set("session");
    const next = running[0];
    if (this.live?.running) {
      const { turn } = this.live;
      if (turn && this.messages.some((message) => message.turn === turn)) this.end();
    } else if (next) this.appear(next);
  }

  /** A turn was started elsewhere. */
  appear(turn: Turn): void {
    if (this.live?.running) return;
    this.setLive(new Live(undefined, turn.name));
  }

  updated(session: Session): void {
    if (this.#historyEtag === this.session?.etag) this.#historyEtag = session.etag;
    this.session = session;
    this.contextEtag = session.etag;
    this.changes.set("session");
  }

  rewound(count: number, etag: string): void {
    this.messages = this.messages.filter((message) => message.index < count);
    this.#historyEtag = etag;
    if (this.session) {
      this.session.messageCount = count;
      this.session.etag = etag;
    }
    this.changes.set("messages");
  }

  /** Reads the newest messages. */
  async refresh(etag: string): Promise<void> {
    const first = !this.loaded;
    const ids = new Set(this.messages.map(({ id }) => id));
    const size = first ? PAGE : NEWEST;
    let { messages, nextPageToken } = await this.#page("", size);
    // Until what is read meets what is here: others may have replaced any part of the history.
    while (!first && nextPageToken && !ids.has(messages[0]?.id ?? "")) {
      const more = await this.#page(nextPageToken, size);
      messages = [...more.messages, ...messages];
      nextPageToken = more.nextPageToken;
    }
    const start = messages[0]?.index ?? 0;
    const held = this.messages.filter((message) => message.index < start);
    if (first || !held.length) [this.earlier, this.#earlierSize] = [nextPageToken, size];
    this.messages = [...held, ...messages];
    this.#historyEtag = etag;
    this.loaded = true;
    this.changes.set("messages");
  }

  async loadEarlier(): Promise<void> {
    const { messages, nextPageToken } = await this.#page(this.earlier, this.#earlierSize);
    this.earlier = nextPageToken;
    this.messages = [...messages, ...this.messages];
    this.changes.set("messages");
  }

  async #page(pageToken: string, pageSize: number): Promise<{ messages: Message[]; nextPageToken: string }> {
    const request = { parent: this.name, pageSize, newestFirst: true, pageToken };
    const { messages, nextPageToken } = await call(() => sessions.listMessages(request));
    return { messages: messages.reverse(), nextPageToken };
  }

  /** Takes an event of the turn that this page follows. */
  apply(live: Live, event: TurnEvent): void {
    live.meter.add(live.answer.apply(event));
    if (event.event.case === "started") this.#active(live.turn);
    if (live === this.live) this.changes.set(event.event.case === "delta" ? "tokens" : "live");
  }

  /** The turn has succeeded: reads its exchange, which then takes its place. */
  async succeed(live: Live): Promise<void> {
    const etag = live.answer.completed?.sessionEtag ?? "";
    await this.refresh(etag);
    if (this.session && etag) {
      this.session.etag = etag;
      this.session.messageCount = (this.messages.at(-1)?.index ?? -1) + 1;
    }
    if (live === this.live) this.end();
    this.#active("");
  }

  /** The turn has ended without an answer. */
  fail(live: Live, failure: Failure): void {
    live.failure = failure;
    live.state = failure.reason === "TURN_CANCELLED" ? "stopped" : "failed";
    dropPending(this.name);
    if (live === this.live) this.changes.set("live");
    this.#active("");
  }

  #active(turn: string): void {
    if (this.session) this.session.activeTurn = turn;
    this.changes.set("session");
  }

  /** Takes the turn as its record has it, for a page that cannot stream now. */
  async record(live: Live, turn: Turn): Promise<void> {
    live.polled = true;
    live.answer.take(turn.message);
    if (turn.state === TurnState.SUCCEEDED) await this.succeed(live);
    else if (turn.error && turn.state !== TurnState.INTERRUPTED) this.fail(live, failureOfTurn(turn.error));
    else this.changes.set("live");
  }

  end(): void {
    dropPending(this.name);
    this.setLive(undefined);
  }

  cannotBeRead(problem: Failure): void {
    this.problem = problem;
    this.changes.set("session");
  }

  vanish(): void {
    this.gone = true;
    dropPending(this.name);
    this.changes.set("session");
  }
}
