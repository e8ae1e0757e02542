"use strict";

const { setTimeout: sleep } = require("node:timers/promises");
const { status } = require("@grpc/grpc-js");
const { rpc } = require("./contract");

// After these the same request may be sent again: the provider is asked once all the same.
const AGAIN = new Set(["DRAINING", "OVERLOADED", "TURN_INTERRUPTED", "STORE_UNAVAILABLE"]);

// The details of an error: ErrorInfo, RetryInfo … by name.
function details(error) {
  const [trailer] = error.metadata?.get("grpc-status-details-bin") ?? [];
  const found = {};
  for (const { type_url: type, value } of trailer ? decode("Status", trailer).details : []) {
    const name = type.split("google.rpc.")[1];
    if (name && rpc(name)) found[name] = decode(name, value);
  }
  if (found.ErrorInfo) {
    // Loaded from a descriptor set, a map is a list of its entries.
    found.ErrorInfo.metadata = Object.fromEntries(found.ErrorInfo.metadata.map(({ key, value }) => [key, value]));
  }
  return found;
}

function decode(name, bytes) {
  return rpc(name).deserialize(bytes);
}

// How many milliseconds to wait before the same request is sent again; undefined if that does not help.
function waitAfter(error) {
  const { ErrorInfo: info, RetryInfo: retry } = details(error);
  const lost = !info && [status.UNAVAILABLE, status.CANCELLED].includes(error.code); // the latter from a busy server
  const final = error.metadata?.get("grpc-retry-pushback-ms")[0] === "-1";
  if (final || !(lost || AGAIN.has(info?.reason))) return undefined;
  const delay = retry?.retryDelay ?? { seconds: 0, nanos: 0 };
  return delay.seconds * 1e3 + delay.nanos / 1e6;
}

// The text of an answer, whatever happens to connections and servers; `request` has a `requestId`, and `seen` is awaited
// with each event. Give it up with `deadline`, a time of your own: the turn ends when nobody has read it for a while.
async function answer(chat, request, { deadline, seen = async () => {} } = {}) {
  let parts = [];
  let pause = 100;
  for (;;) {
    const stream = chat.streamChat(request, { deadline });
    try {
      for await (const event of stream) {
        if (event.event === "heartbeat") continue;
        request = { ...request, afterSequence: event.sequence };
        pause = 100;
        if (event.event === "delta") {
          parts[event.delta.part] = (parts[event.delta.part] ?? "") + event.delta.text;
        } else if (event.event === "switched" && event.switched.mode === "MODE_RESTARTED") {
          parts = [];
        }
        await seen(event);
      }
      return parts.join("");
    } catch (error) {
      const wait = waitAfter(error);
      if (wait === undefined) throw error;
      await sleep(wait + Math.random() * pause);
      pause = Math.min(pause * 2, 5000);
    } finally {
      stream.cancel();
    }
  }
}

module.exports = { answer, details, waitAfter };
