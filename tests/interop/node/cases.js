// The cases of tests/interop in Node.js: node cases.js ADDRESS CASE
"use strict";

const readline = require("node:readline");
const { promisify } = require("node:util");
const grpc = require("@grpc/grpc-js");
const { v1, health } = require("./contract");
const { answer, details } = require("./answer");
const { load } = require("./load");

const [, , address, name] = process.argv;

const alive = { "grpc.keepalive_time_ms": 30_000, "grpc.keepalive_timeout_ms": 10_000 };
const connect = (Client) => new Client(address, grpc.credentials.createInsecure(), alive);
const sessions = connect(v1.SessionService);
const chats = connect(v1.ChatService);
const turns = connect(v1.TurnService);
const embeddings = connect(v1.EmbeddingService);
const models = connect(v1.ModelService);
const healths = connect(health.Health);

// A unary method, as a function that is awaited.
const call = (client, method) => promisify(client[method]).bind(client);

const user = (text) => ({ role: "ROLE_USER", parts: [{ text }] });
const textOf = (message) => message.parts.map((part) => part.text).join("");
const go = (fields = {}) => ({ messages: [user("go")], ...fields });

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

// Let the test do what is its part.
async function pause(what) {
  say({ pause: what });
  await lines.next();
}

// The error with which a call must end.
async function refused(promise) {
  try {
    await promise;
  } catch (error) {
    const { reason = "", metadata = {} } = details(error).ErrorInfo ?? {};
    return { code: error.code, reason, metadata };
  }
  throw new Error("the call was not refused");
}

// Read on until an event of that kind.
async function until(events, kind) {
  for (;;) {
    const { value, done } = await events.next();
    if (done) throw new Error(`the stream ended without ${kind}`);
    if (value.event === kind) return value;
  }
}

const read = (stream) => stream[Symbol.asyncIterator]();

async function rest(events) {
  let text = "";
  for (let next = await events.next(); !next.done; next = await events.next()) {
    text += next.value.delta?.text ?? "";
  }
  return text;
}

const create = (session = {}) => call(sessions, "createSession")({ sessionId: "interop", session });

const cases = {
  async create() {
    const request = {
      sessionId: "interop",
      session: { labels: { team: "blue" }, systemInstruction: "Be brief.", ttl: { seconds: 3600 } },
      requestId: "begin",
    };
    const first = await call(sessions, "createSession")(request);
    const again = await call(sessions, "createSession")(request);
    const session = await call(sessions, "getSession")({ name: first.name });
    return {
      names: [first.name, again.name],
      labels: session.labels,
      system_instruction: session.systemInstruction,
      ttl: session.ttl.seconds,
      same: session.uid === first.uid && session.etag === again.etag,
    };
  },

  async chat() {
    const { name: session } = await create();
    const { completed } = await call(chats, "chat")({
      session,
      messages: [user("Grüß Gott 👋")],
      config: { temperature: 0 },
    });
    const { messages } = await call(sessions, "listMessages")({ parent: session });
    return {
      text: textOf(completed.message),
      finish_reason: completed.finishReason,
      history: messages.map((message) => [message.role, textOf(message)]),
    };
  },

  async stream() {
    const kinds = [];
    const sequences = [];
    let text = "";
    let whole = "";
    for await (const event of chats.streamChat(go())) {
      kinds.push(event.event);
      sequences.push(event.sequence);
      if (event.event === "delta") {
        text += event.delta.text;
        await pause(event.delta.text);
      } else if (event.event === "completed") {
        whole = textOf(event.completed.message);
      }
    }
    return { kinds, sequences, text, whole };
  },

  async retry() {
    const first = await call(chats, "chat")(go({ requestId: "order" }));
    const again = await call(chats, "chat")(go({ requestId: "order" }));
    const other = call(chats, "chat")({ messages: [user("stop")], requestId: "order" });
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
      seen: async (event) => {
        sequences.push(event.sequence);
        if (event.event === "started") turn = event.started.turn;
        if (event.event === "delta") await pause(event.delta.text);
      },
    });
    return { turn, text, sequences };
  },

  async cancel() {
    const events = read(chats.streamChat(go()));
    const { started } = await until(events, "started");
    await until(events, "delta");
    const stop = () => call(turns, "cancelTurn")({ name: started.turn });
    const [first, again] = [await stop(), await stop()];
    return { states: [first.state, again.state], text: textOf(first.message), refused: await refused(rest(events)) };
  },

  async leave() {
    const stream = chats.streamChat(go({ onDisconnect: "ON_DISCONNECT_CANCEL" }));
    const events = read(stream);
    const { started } = await until(events, "started");
    await until(events, "delta");
    stream.cancel();
    await refused(rest(events));
    await pause(started.turn);
    const { state } = await call(turns, "getTurn")({ name: started.turn });
    return { state };
  },

  async busy() {
    const { name: session } = await create();
    const first = read(chats.streamChat(go({ session })));
    const { started } = await until(first, "started");
    const error = await refused(call(chats, "chat")(go({ session })));
    const second = read(chats.streamChat(go({ session, ifBusy: "IF_BUSY_QUEUE" })));
    const { queued } = await until(second, "queued");
    await pause(started.turn);
    return { refused: error, position: queued.position, texts: [await rest(first), await rest(second)] };
  },

  async deadline() {
    await call(healths, "check")({}); // connects, so that the deadline is the turn's alone
    const request = go({ onDisconnect: "ON_DISCONNECT_CONTINUE" });
    const events = read(chats.streamChat(request, { deadline: Date.now() + 1000 }));
    const { started } = await until(events, "started");
    const { sequence, delta } = await until(events, "delta");
    const deadline = await refused(rest(events));
    await pause(delta.text);
    return {
      deadline,
      rest: await rest(read(turns.streamTurn({ name: started.turn, afterSequence: sequence }))),
      timeout: await refused(call(chats, "chat")(go({ timeout: { nanos: 50e6 } }))),
    };
  },

  async unknown_session() {
    const name = "sessions/nobody";
    return {
      read: await refused(call(sessions, "getSession")({ name })),
      streamed: await refused(rest(read(chats.streamChat(go({ session: name }))))),
    };
  },

  async context() {
    const fields = { tea: { boolValue: true }, sugar: { numberValue: 2.5 } };
    const taste = { type: "json", json: { structValue: { fields } } };
    const { name } = await create({ context: { city: { type: "text", text: "Ulm" }, taste } });
    await call(sessions, "updateSession")({
      session: { name },
      setContext: { day: { type: "text", text: "Monday" } },
      removeContext: ["city"],
    });
    const { context } = await call(sessions, "getSession")({ name });
    await call(chats, "chat")(go({ session: name }));
    const kept = context.taste.json.structValue.fields;
    return {
      entries: Object.keys(context).sort(),
      day: context.day.text,
      tea: kept.tea.boolValue,
      sugar: kept.sugar.numberValue,
    };
  },

  async embeddings() {
    const { embeddings: found, usage } = await call(embeddings, "embed")({ inputs: ["abba", "c"] });
    return { vectors: found.map(({ values }) => values), input_tokens: usage.inputTokens };
  },

  async tokens() {
    const { inputTokens, exact, model } = await call(models, "countTokens")({ messages: [user("one two three")] });
    return { input_tokens: inputTokens, exact, model };
  },

  async state() {
    const { completed: first } = await call(chats, "chat")(go());
    const { completed: second } = await call(chats, "chat")({ messages: [user("go"), first.message, user("go")] });
    return { texts: [textOf(first.message), textOf(second.message)] };
  },

  async check() {
    const check = (service) => call(healths, "check")({ service });
    const found = [await check(""), await check("contextprotocol.v1.ChatService")];
    const unknown = await refused(check("nobody"));
    return { statuses: found.map(({ status }) => status), unknown: unknown.code };
  },

  async watch() {
    const events = read(healths.watch({ service: "" }));
    const first = await events.next();
    await pause(first.value.status);
    const next = await events.next();
    return { status: next.value.status };
  },

  load: () => load(chats, lines, say),
};

cases[name]().then((found) => {
  say(found);
  process.exit();
});
