/**
 * Keeps a conversation up to date: with one long request while the page is visible, and none while it is hidden. The request
 * streams the answer of the turn that runs, or else watches the session.
 */
import { chat, sessions, turns } from "../api/clients";
import { connection } from "../api/connection";
import { failureOf } from "../api/failure";
import { askForKey } from "../api/key";
import { Backoff, CallFailed, pause } from "../api/retry";
import type { SessionEvent } from "../gen/contextprotocol/v1/session_pb";
import type { Conversation } from "./conversation";
import type { Live } from "./live";
import { takeSlot } from "./slots";

export class Follower {
  readonly #ended = new AbortController();
  readonly #backoff = new Backoff();
  #request = new AbortController();
  #urgent = true;

  constructor(readonly conversation: Conversation) {
    const { signal } = this.#ended;
    document.addEventListener("visibilitychange", () => this.interrupt(), { signal });
    addEventListener("focus", () => this.#focus(), { signal });
    addEventListener("offline", () => this.interrupt(), { signal });
    void this.#run();
  }

  stop(): void {
    this.#ended.abort();
    this.#request.abort();
  }

  /** Ends the long request, so that the next one fits the state of the conversation. */
  interrupt(urgent = false): void {
    this.#urgent ||= urgent;
    this.#request.abort();
  }

  #polling = false;

  #focus(): void {
    if (this.#polling) this.interrupt(true);
  }

  async #run(): Promise<void> {
    const { signal } = this.#ended;
    const { conversation } = this;
    while (!signal.aborted && !conversation.gone) {
      await visible(signal);
      this.#request = new AbortController();
      const live = conversation.busy ? conversation.live : undefined;
      const slot = await takeSlot(this.#urgent || Boolean(live?.request && !live.turn));
      this.#urgent = false;
      const request = slot ? AbortSignal.any([this.#request.signal, slot.lost]) : this.#request.signal;
      try {
        if (!slot) await this.#poll(live, request);
        else if (live && conversation.loaded) await this.#stream(live, request);
        else await this.#watch(request);
      } catch (error) {
        if (!request.aborted) await this.#trouble(error, live);
      } finally {
        slot?.release();
      }
    }
  }

  #arrived(): void {
    this.#backoff.reset();
    connection.works();
  }

  /** Streams the answer to its end. */
  async #stream(live: Live, signal: AbortSignal): Promise<void> {
    const { conversation } = this;
    const { answer, request, turn } = live;
    if (live.polled) answer.reset();
    live.polled = false;
    const afterSequence = answer.sequence || undefined;
    const events = request
      ? chat.streamChat({ ...request, afterSequence }, { signal })
      : turns.streamTurn({ name: turn, afterSequence }, { signal });
    for await (const event of alive(events, this.#request)) {
      this.#arrived();
      conversation.apply(live, event);
    }
    await conversation.succeed(live);
  }

  /** Watches the session until there is a turn to follow. */
  async #watch(signal: AbortSignal): Promise<void> {
    const { conversation } = this;
    const request = { name: conversation.name, afterEtag: conversation.contextEtag };
    const events = sessions.watchSession(request, { signal });
    for await (const event of alive(events, this.#request)) {
      this.#arrived();
      await this.#happened(event);
      if (conversation.gone || conversation.busy) return;
    }
    await pause(1000, signal);
  }

  async #happened({ etag, event }: SessionEvent): Promise<void> {
    const { conversation } = this;
    switch (event.case) {
      case "current":
        if (event.value.session) await conversation.current(event.value.session, event.value.turns);
        return;
      case "turnQueued":
      case "turnStarted":
        conversation.appear(event.value);
        return;
      case "messagesAppended":
        if (conversation.session) {
          conversation.session.messageCount = event.value.messageCount;
          conversation.session.etag = conversation.contextEtag = etag;
        }
        await conversation.refresh(etag);
        return;
      case "rewound":
        conversation.rewound(event.value.messageCount, etag);
        conversation.contextEtag = etag;
        return;
      case "updated":
        conversation.updated(event.value);
        return;
      case "deleted":
        conversation.vanish();
        return;
      default:
        return; // a heartbeat, or a kind that this page does not know yet
    }
  }

  /** Asks once, and waits: the other tabs of the browser hold all places for long requests. */
  async #poll(live: Live | undefined, signal: AbortSignal): Promise<void> {
    const { conversation } = this;
    this.#polling = true;
    try {
      if (live?.turn && conversation.loaded) {
        await conversation.record(live, await turns.getTurn({ name: live.turn }, { signal }));
      } else {
        const session = await sessions.getSession({ name: conversation.name }, { signal });
        const { activeTurn } = session;
        const running = activeTurn ? [await turns.getTurn({ name: activeTurn }, { signal })] : [];
        await conversation.current(session, running);
      }
      this.#arrived();
      await pause(conversation.busy ? 700 : 3000, signal);
    } finally {
      this.#polling = false;
    }
  }

  async #trouble(thrown: unknown, live: Live | undefined): Promise<void> {
    const failure = thrown instanceof CallFailed ? thrown.failure : failureOf(thrown);
    if (failure.reason === "SESSION_NOT_FOUND") this.conversation.vanish();
    else if (failure.remedy === "key") await askForKey(failure.message);
    else if (failure.reason === "SEQUENCE_UNKNOWN") live?.answer.reset();
    else if (failure.remedy === "none" && live) this.conversation.fail(live, failure);
    else if (failure.reason === "TURN_INTERRUPTED" && live && !live.request) this.conversation.fail(live, failure);
    else if (failure.remedy === "none") {
      this.conversation.cannotBeRead(failure);
      this.stop();
    } else {
      const time = this.#backoff.after(failure);
      if (!failure.lost || time > 300) connection.fails(failure, time);
      await pause(time, this.#request.signal);
    }
  }
}

/** How long the server may be silent, in milliseconds: it sends a heartbeat every 15 seconds unless configured otherwise. */
const SILENCE = 60_000;

/** Ends the request when nothing has come for a while: a connection can be dead without anybody noticing. */
async function* alive<T>(events: AsyncIterable<T>, request: AbortController): AsyncIterable<T> {
  const end = (): void => request.abort();
  let timer = setTimeout(end, SILENCE);
  try {
    for await (const event of events) {
      clearTimeout(timer);
      yield event;
      timer = setTimeout(end, SILENCE);
    }
  } finally {
    clearTimeout(timer);
  }
}

async function visible(signal: AbortSignal): Promise<void> {
  while (document.hidden && !signal.aborted) {
    await new Promise<void>((resolve) => {
      document.addEventListener("visibilitychange", () => resolve(), { once: true });
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }
}
