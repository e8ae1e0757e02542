// Continue a conversation from Node.js: node ask.js SESSION "A question". ask.py does the same.
// It needs the .proto files and no generated code. They are in the Python package too:
// python -c "from contextprotocol import protos; print(protos.path())"
"use strict";

const { randomUUID } = require("node:crypto");
const path = require("node:path");
const { promisify } = require("node:util");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const PROTOS = process.env.PROTOS ?? path.join(__dirname, "..", "..", "protos");
const ADDRESS = process.env.CONTEXTPROTOCOL_ADDRESS ?? "127.0.0.1:50051";

const { v1 } = grpc.loadPackageDefinition(
  loader.loadSync(["contextprotocol/v1/chat.proto", "contextprotocol/v1/session.proto"], {
    includeDirs: [PROTOS],
    longs: Number,
    enums: String,
    oneofs: true,
  }),
).contextprotocol;
const sessions = new v1.SessionService(ADDRESS, grpc.credentials.createInsecure());
const chats = new v1.ChatService(ADDRESS, grpc.credentials.createInsecure());
const call = (client, method) => promisify(client[method]).bind(client);

async function main(sessionId, question) {
  try {
    await call(sessions, "createSession")({ sessionId });
  } catch (error) {
    if (error.code !== grpc.status.ALREADY_EXISTS) throw error; // perhaps begun in another language
  }
  const session = `sessions/${sessionId}`;
  const messages = [{ role: "ROLE_USER", parts: [{ text: question }] }];
  const request = { session, messages, requestId: randomUUID(), ifBusy: "IF_BUSY_QUEUE" };
  for await (const { delta } of chats.streamChat(request)) {
    if (delta?.text) process.stdout.write(delta.text);
  }
  process.stdout.write("\n");
  const history = await call(sessions, "listMessages")({ parent: session });
  console.log(history.messages.map(({ parts }) => parts.map(({ text }) => text).join("")));
}

main(...process.argv.slice(2))
  .catch((error) => {
    console.error(error.details ?? error);
    process.exitCode = 1;
  })
  .finally(() => [sessions, chats].forEach((client) => client.close()));
