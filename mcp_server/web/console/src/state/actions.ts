/** What a person can do with a session. */
import { create } from "@bufbuild/protobuf";

import { sessions, turns } from "../api/clients";
import { call } from "../api/retry";
import { type Message, MessageSchema, Role } from "../gen/contextprotocol/v1/message_pb";
import type { Session } from "../gen/contextprotocol/v1/session_pb";
import type { Conversation } from "./conversation";
import type { Follower } from "./follower";
import { chatRequest, newId } from "./live";
import type { Draft } from "./draft";


/** The label that holds the title of a session. */
export const TITLE = "title";

export function userMessage(text: string): Message {
  return create(MessageSchema, { role: Role.USER, parts: [{ part: { case: "text", value: text } }] });
}

export function textOf(message: Message): string {
  return message.parts.flatMap(({ part }) => (part.case === "text" ? [part.value] : [])).join("\n\n");
}

/** Creates the session for a first message, whose first words are its title. */
export async function createSession(draft: Draft, text: string): Promise<Session> {
  const title = titleOf(text);
  const labels: Record<string, string> = title ? { [TITLE]: title } : {};
  const { systemInstruction, defaultModel } = draft;
  const request = {
    requestId: newId(),
    session: { systemInstruction, defaultModel, labels },
  };
  return call(() => sessions.createSession(request));
}

function titleOf(text: string): string {
  const line = text.trim().split("\n")[0]?.replace(/\s+/g, " ") ?? "";
  if (line.length <= 60) return line;
  return `${line.slice(0, 59).replace(/\s+\S*$/, "")}…`;
}

export function send(conversation: Conversation, follower: Follower, messages: readonly Message[]): void {
  conversation.send(chatRequest(conversation.name, messages));
  follower.interrupt(true);
}

/** Stops the running turn. Its readers see how it ended. */
export async function stop(conversation: Conversation): Promise<void> {
  const { live } = conversation;
  if (!live?.running || !live.turn) return;
  live.state = "stopping";
  conversation.setLive(live);
  try {
    await call(() => turns.cancelTurn({ name: live.turn }));
  } catch (error) {
    if (live.state === "stopping") live.state = "running";
    conversation.setLive(live);
    throw error;
  }
}

/** Removes the messages from an index on. */
export async function rewind(conversation: Conversation, messageCount: number): Promise<void> {
  const requestId = newId();
  const etag = conversation.session?.etag ?? "";
  const session = await call(() => sessions.rewindSession({ name: conversation.name, messageCount, etag, requestId }));
  conversation.rewound(messageCount, session.etag);
}

/** A new session with the messages before an index. */
export async function fork(conversation: Conversation, messageCount: number): Promise<Session> {
  const requestId = newId();
  return call(() => sessions.forkSession({ name: conversation.name, messageCount, requestId }));
}

/** The first message of the exchange that an answer ends, and what was sent in it. */
export function inputOf(messages: readonly Message[], answer: Message): { start: number; input: Message[] } {
  const before = messages.filter((message) => message.index < answer.index);
  const same = (message: Message): boolean =>
    answer.turn ? message.turn === answer.turn : message.role !== Role.ASSISTANT;
  const input: Message[] = [];
  for (const message of before.reverse()) {
    if (!same(message)) break;
    input.unshift(message);
  }
  return { start: input[0]?.index ?? answer.index, input };
}

/** The tool calls at the end of the history that wait for their results. */
export function openCalls(messages: readonly Message[]): { id: string; name: string; argumentsJson: string }[] {
  const results = new Set<string>();
  for (const message of [...messages].reverse()) {
    for (const { part } of message.parts) if (part.case === "toolResult") results.add(part.value.toolCallId);
    if (message.role === Role.TOOL) continue;
    const calls = message.parts.flatMap(({ part }) => (part.case === "toolCall" ? [part.value] : []));
    return calls.filter(({ id }) => !results.has(id));
  }
  return [];
}

export function toolMessages(results: readonly { id: string; text: string; failed: boolean }[]): Message[] {
  return results.map(({ id, text, failed }) =>
    create(MessageSchema, {
      role: Role.TOOL,
      parts: [
        {
          part: {
            case: "toolResult",
            value: { toolCallId: id, isError: failed, parts: [{ part: { case: "text", value: text } }] },
          },
        },
      ],
    }),
  );
}
