// The cases of tests/interop, for any transport of Connect.
import { enumToJson, fromJson, toJson } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { ConnectError, createClient } from "@connectrpc/connect";
import { ChatService } from "./contextprotocol/v1/chat_pb.js";
import { EmbeddingService } from "./contextprotocol/v1/embedding_pb.js";
import { IfBusy, OnDisconnect } from "./contextprotocol/v1/generation_pb.js";
import { FinishReasonSchema, Role, RoleSchema } from "./contextprotocol/v1/message_pb.js";
import { ModelService } from "./contextprotocol/v1/model_pb.js";
import { SessionService } from "./contextprotocol/v1/session_pb.js";
import { TurnService, TurnStateSchema } from "./contextprotocol/v1/turn_pb.js";
import { ErrorInfoSchema } from "./google/rpc/error_details_pb.js";
import { Health, HealthCheckResponse_ServingStatusSchema as StatusSchema } from "./grpc/health/v1/health_pb.js";
import { answer } from "./answer.js";

const user = (text) => ({ role: Role.USER, parts: [{ part: { case: "text", value: text } }] });
const textOf = (message) => message.parts.map(({ part }) => (part.case === "text" ? part.value : "")).join("");
const go = (fields = {}) => ({ messages: [user("go")], ...fields });
const stateOf = (turn) => enumToJson(TurnStateSchema, turn.state);
const statusOf = ({ status }) => enumToJson(StatusSchema, status);
const read = (stream) => stream[Symbol.asyncIterator]();

// The error with which a call must end.
async function refused(promise) {
  try {
    await promise;
  } catch (reason) {
    const error = ConnectError.from(reason);
    const [info] = error.findDetails(ErrorInfoSchema);
    return { code: error.code, reason: info?.reason ?? "", metadata: info?.metadata ?? {} };
  }
  throw new Error("the call was not refused");
}

// Read on until an event of that kind.
async function until(events, kind) {
  for (;;) {
    const { value, done } = await events.next();
    if (done) throw new Error(`the stream ended without ${kind}`);
    if (value.event.case === kind) return { sequence: value.sequence, ...value.event.value };
  }
}

async function rest(events) {
  let text = "";
  for (let next = await events.next(); !next.done; next = await events.next()) {
    if (next.value.event.case === "delta") text += next.value.event.value.piece.value;
  }
  return text;
}

// The findings of a case. `pause` lets the test do what is its part.
export function run(transport, name, pause) {
  const sessions = createClient(SessionService, transport);
  const chats = createClient(ChatService, transport);
  const turns = createClient(TurnService, transport);
  const embeddings = createClient(EmbeddingService, transport);
  const models = createClient(ModelService, transport);
  const health = createClient(Health, transport);
  const create = (session = {}) => sessions.createSession({ sessionId: "interop", session });

  const cases = {
    async create() {
      const request = {
        sessionId: "interop",
        session: { labels: { team: "blue" }, systemInstruction: "Be brief.", ttl: { seconds: 3600n } },
        requestId: "begin",
      };
      const first = await sessions.createSession(request);
      const again = await sessions.createSession(request);
      const session = await sessions.getSession({ name: first.name });
      return {
        names: [first.name, again.name],
        labels: session.labels,
        system_instruction: session.systemInstruction,
        ttl: Number(session.ttl.seconds),
        same: session.uid === first.uid && session.etag === again.etag,
      };
    },

    async chat() {
      const { name: session } = await create();
      const { completed } = await chats.chat({ session, messages: [user("Grüß Gott 👋")], config: { temperature: 0 } });
      const { messages } = await sessions.listMessages({ parent: session });
      return {
        text: textOf(completed.message),
        finish_reason: enumToJson(FinishReasonSchema, completed.finishReason),
        history: messages.map((message) => [enumToJson(RoleSchema, message.role), textOf(message)]),
      };
    },

    async stream() {
      const kinds = [];
      const sequences = [];
      let text = "";
      let whole = "";
      for await (const { sequence, event } of chats.streamChat(go())) {
        kinds.push(event.case);
        sequences.push(sequence);
        if (event.case === "delta") {
          text += event.value.piece.value;
          await pause(event.value.piece.value);
        } else if (event.case === "completed") {
          whole = textOf(event.value.message);
        }
      }
      return { kinds, sequences, text, whole };
    },

    async retry() {
      const first = await chats.chat(go({ requestId: "order" }));
      const again = await chats.chat(go({ requestId: "order" }));
      const other = chats.chat({ messages: [user("stop")], requestId: "order" });
      return {
        turns: [first.turn, again.turn],
        texts: [first, again].map(({ completed }) => textOf(completed.message)),
        refused: await refused(other),
      };
    },

    async resume() {
      const sequences = [];
      let turn = "";
      const text = await answer(chats, go({ requestId: "story" }), {
        seen: async ({ sequence, event }) => {
          sequences.push(sequence);
          if (event.case === "started") turn = event.value.turn;
          if (event.case === "delta") await pause(event.value.piece.value);
        },
      });
      return { turn, text, sequences };
    },

    async cancel() {
      const events = read(chats.streamChat(go()));
      const { turn } = await until(events, "started");
      await until(events, "delta");
      const [first, again] = [await turns.cancelTurn({ name: turn }), await turns.cancelTurn({ name: turn })];
      return { states: [first, again].map(stateOf), text: textOf(first.message), refused: await refused(rest(events)) };
    },

    async leave() {
      const leaving = new AbortController();
      const request = go({ onDisconnect: OnDisconnect.CANCEL });
      const events = read(chats.streamChat(request, { signal: leaving.signal }));
      const { turn } = await until(events, "started");
      await until(events, "delta");
      leaving.abort();
      await refused(rest(events));
      await pause(turn);
      return { state: stateOf(await turns.getTurn({ name: turn })) };
    },

    async busy() {
      const { name: session } = await create();
      const first = read(chats.streamChat(go({ session })));
      const { turn } = await until(first, "started");
      const error = await refused(chats.chat(go({ session })));
      const second = read(chats.streamChat(go({ session, ifBusy: IfBusy.QUEUE })));
      const { position } = await until(second, "queued");
      await pause(turn);
      return { refused: error, position, texts: [await rest(first), await rest(second)] };
    },

    async deadline() {
      await health.check({}); // connects, so that the deadline is the turn's alone
      const events = read(chats.streamChat(go({ onDisconnect: OnDisconnect.CONTINUE }), { timeoutMs: 1000 }));
      const { turn } = await until(events, "started");
      const { sequence, piece } = await until(events, "delta");
      const deadline = await refused(rest(events));
      await pause(piece.value);
      return {
        deadline,
        rest: await rest(read(turns.streamTurn({ name: turn, afterSequence: sequence }))),
        timeout: await refused(chats.chat(go({ timeout: { nanos: 50e6 } }))),
      };
    },

    async unknown_session() {
      const name = "sessions/nobody";
      return {
        read: await refused(sessions.getSession({ name })),
        streamed: await refused(rest(read(chats.streamChat(go({ session: name }))))),
      };
    },

    async context() {
      const text = (value) => ({ type: "text", value: { case: "text", value } });
      const json = fromJson(ValueSchema, { tea: true, sugar: 2.5 });
      const taste = { type: "json", value: { case: "json", value: json } };
      const { name } = await create({ context: { city: text("Ulm"), taste } });
      await sessions.updateSession({ session: { name }, setContext: { day: text("Monday") }, removeContext: ["city"] });
      const { context } = await sessions.getSession({ name });
      await chats.chat(go({ session: name }));
      const { tea, sugar } = toJson(ValueSchema, context.taste.value.value);
      return { entries: Object.keys(context).sort(), day: context.day.value.value, tea, sugar };
    },

    async embeddings() {
      const { embeddings: found, usage } = await embeddings.embed({ inputs: ["abba", "c"] });
      return { vectors: found.map(({ values }) => values), input_tokens: Number(usage.inputTokens) };
    },

    async tokens() {
      const { inputTokens, exact, model } = await models.countTokens({ messages: [user("one two three")] });
      return { input_tokens: Number(inputTokens), exact, model };
    },

    async state() {
      const { completed: first } = await chats.chat(go());
      const { completed: second } = await chats.chat({ messages: [user("go"), first.message, user("go")] });
      return { texts: [textOf(first.message), textOf(second.message)] };
    },

    async check() {
      const check = (service) => health.check({ service });
      const found = [await check(""), await check("contextprotocol.v1.ChatService")];
      return { statuses: found.map(statusOf), unknown: (await refused(check("nobody"))).code };
    },

    async watch() {
      const events = read(health.watch({ service: "" }));
      const first = await events.next();
      await pause(statusOf(first.value));
      return { status: statusOf((await events.next()).value) };
    },
  };
  return cases[name]();
}
