/** A turn that runs, or one that ended without an answer: what follows the history on the page. */
import { create } from "@bufbuild/protobuf";

import type { Failure } from "../api/failure";
import { type ChatRequest, ChatRequestSchema } from "../gen/contextprotocol/v1/chat_pb";
import { IfBusy, OnDisconnect } from "../gen/contextprotocol/v1/generation_pb";
import type { Message } from "../gen/contextprotocol/v1/message_pb";
import { Answer } from "./answer";
import { Meter } from "./meter";

/** "running" from the moment of sending; a turn that succeeds becomes part of the history. */
export type LiveState = "running" | "stopping" | "failed" | "stopped";

export class Live {
  readonly answer = new Answer();
  readonly meter = new Meter();
  state: LiveState = "running";
  failure: Failure | undefined;
  /** The answer was read from the record of the turn, not from its events. */
  polled = false;

  /** @param request what this tab sent; undefined for a turn that was started elsewhere. */
  constructor(
    readonly request: ChatRequest | undefined,
    turn = "",
  ) {
    this.answer.turn = turn;
  }

  get turn(): string {
    return this.answer.turn;
  }

  get running(): boolean {
    return this.state === "running" || this.state === "stopping";
  }
}

/** A request that can be sent again until it is answered, and whose turn belongs to the server. */
export function chatRequest(session: string, messages: readonly Message[]): ChatRequest {
  return create(ChatRequestSchema, {
    session,
    messages: [...messages],
    requestId: newId(),
    ifBusy: IfBusy.QUEUE,
    onDisconnect: OnDisconnect.CONTINUE,
  });
}

/** A random idempotency key. `crypto.randomUUID` would need TLS. */
export function newId(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
