/** The request of the answer that this tab waits for: a tab that is loaded again sends it again and gets the same answer. */
import { fromJsonString, toJsonString } from "@bufbuild/protobuf";

import { type ChatRequest, ChatRequestSchema } from "../gen/contextprotocol/v1/chat_pb";

const place = (session: string): string => `contextprotocol.pending.${session}`;

export function savePending(request: ChatRequest): void {
  try {
    sessionStorage.setItem(place(request.session), toJsonString(ChatRequestSchema, request));
  } catch {
    // Too long for the storage: then the tab that is loaded again follows the turn without its question.
    dropPending(request.session);
  }
}

export function pendingOf(session: string): ChatRequest | undefined {
  const text = sessionStorage.getItem(place(session));
  if (!text) return undefined;
  try {
    return fromJsonString(ChatRequestSchema, text, { ignoreUnknownFields: true });
  } catch {
    dropPending(session);
    return undefined;
  }
}

export function dropPending(session: string): void {
  sessionStorage.removeItem(place(session));
}
