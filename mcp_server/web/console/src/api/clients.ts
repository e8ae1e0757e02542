/** The services of the server that this page comes from. */
import { type Client, createClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";

import { ChatService } from "../gen/contextprotocol/v1/chat_pb";
import { KeyService } from "../gen/contextprotocol/v1/key_pb";
import { ModelService } from "../gen/contextprotocol/v1/model_pb";
import { SessionService } from "../gen/contextprotocol/v1/session_pb";
import { TurnService } from "../gen/contextprotocol/v1/turn_pb";
import { UsageService } from "../gen/contextprotocol/v1/usage_pb";
import { storedKey } from "./key";

/** The page may lie in a folder, with the services beside it. */
const baseUrl = new URL(".", document.baseURI).href.replace(/\/$/, "");

const authorize: Interceptor = (next) => (request) => {
  const key = storedKey();
  if (key && !request.header.has("authorization")) request.header.set("authorization", `Bearer ${key}`);
  return next(request);
};

const transport = createConnectTransport({ baseUrl, useBinaryFormat: true, interceptors: [authorize] });

export const chat: Client<typeof ChatService> = createClient(ChatService, transport);
export const keys: Client<typeof KeyService> = createClient(KeyService, transport);
export const models: Client<typeof ModelService> = createClient(ModelService, transport);
export const sessions: Client<typeof SessionService> = createClient(SessionService, transport);
export const turns: Client<typeof TurnService> = createClient(TurnService, transport);
export const usage: Client<typeof UsageService> = createClient(UsageService, transport);
