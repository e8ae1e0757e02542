/** An answer as its events build it. No input or output happens here. */
import type { Message } from "../gen/contextprotocol/v1/message_pb";
import {
  AttemptSwitched_Mode,
  PartStarted_Kind,
  type AttemptSwitched,
  type TurnCompleted,
  type TurnEvent,
  type Window,
} from "../gen/contextprotocol/v1/turn_pb";

export type PartKind = "text" | "reasoning" | "refusal" | "tool" | "blob" | "state";

export interface AnswerPart {
  readonly kind: PartKind;
  /** The text, or the arguments of a tool call. */
  text: string;
  readonly tool: string;
}

const KINDS: Readonly<Record<number, PartKind>> = {
  [PartStarted_Kind.TEXT]: "text",
  [PartStarted_Kind.REASONING]: "reasoning",
  [PartStarted_Kind.REFUSAL]: "refusal",
  [PartStarted_Kind.TOOL_CALL]: "tool",
  [PartStarted_Kind.BLOB]: "blob",
  [PartStarted_Kind.PROVIDER_STATE]: "state",
};

export class Answer {
  /** Of the last event: the place to go on from. */
  sequence = 0;
  parts: AnswerPart[] = [];
  turn = "";
  model = "";
  window: Window | undefined;
  /** How many turns are ahead; 0 if the turn does not wait. */
  position = 0;
  started = false;
  switches: AttemptSwitched[] = [];
  completed: TurnCompleted | undefined;

  /** The number of characters that the event adds. */
  apply({ sequence, event }: TurnEvent): number {
    if (event.case !== "heartbeat") this.sequence = Math.max(this.sequence, sequence);
    switch (event.case) {
      case "queued":
        this.turn = event.value.turn;
        this.position = event.value.position;
        return 0;
      case "started":
        this.turn = event.value.turn;
        this.model = event.value.model;
        this.window = event.value.window;
        this.position = 0;
        this.started = true;
        return 0;
      case "partStarted": {
        const { part, kind, toolName } = event.value;
        this.parts[part] = { kind: KINDS[kind] ?? "text", text: "", tool: toolName };
        return 0;
      }
      case "delta": {
        const piece = event.value.piece.value ?? "";
        const part = this.parts[event.value.part];
        if (part) part.text += piece;
        return piece.length;
      }
      case "switched":
        if (event.value.mode === AttemptSwitched_Mode.RESTARTED) this.parts = [];
        this.model = event.value.toModel;
        this.window = event.value.window;
        this.switches.push(event.value);
        this.started = true;
        return 0;
      case "completed":
        this.completed = event.value;
        return 0;
      default:
        return 0; // a kind that this page does not know yet
    }
  }

  /** Begins anew: the events are read from the first one on again. */
  reset(): void {
    this.sequence = 0;
    this.parts = [];
    this.switches = [];
  }

  /** Takes the answer so far from the record of the turn, which has no sequence numbers. */
  take(message: Message | undefined): void {
    this.reset();
    for (const { part } of message?.parts ?? []) {
      if (part.case === "toolCall") {
        this.parts.push({ kind: "tool", text: part.value.argumentsJson, tool: part.value.name });
      } else if (part.case === "text" || part.case === "reasoning" || part.case === "refusal") {
        this.parts.push({ kind: part.case, text: part.value, tool: "" });
      }
    }
  }
}
