import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema, RetryInfoSchema } from "./google/rpc/error_details_pb.js";
import { AttemptSwitched_Mode } from "./contextprotocol/v1/turn_pb.js";

// After these the same request may be sent again: the provider is asked once all the same.
const AGAIN = new Set(["DRAINING", "OVERLOADED", "TURN_INTERRUPTED", "STORE_UNAVAILABLE"]);
// Without details from the server they are no accident of the network.
const OWN = new Set([Code.Canceled, Code.DeadlineExceeded, Code.InvalidArgument, Code.Unimplemented]);

// How many milliseconds to wait before the same request is sent again; undefined if that does not help.
export function waitAfter(error) {
  const [info] = error.findDetails(ErrorInfoSchema);
  const lost = !info && !OWN.has(error.code);
  const final = error.metadata.get("grpc-retry-pushback-ms") === "-1";
  if (final || !(lost || AGAIN.has(info?.reason))) return undefined;
  const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  return delay ? Number(delay.seconds) * 1e3 + delay.nanos / 1e6 : 0;
}

// The text of an answer, whatever happens to connections and servers; `request` has a `requestId`, and `seen` is awaited
// with each event. Give it up with `signal`: the turn ends when nobody has read it for a while.
export async function answer(chat, request, { signal, seen = async () => {} } = {}) {
  let parts = [];
  let pause = 100;
  for (;;) {
    try {
      for await (const { sequence, event } of chat.streamChat(request, { signal })) {
        if (event.case === "heartbeat") continue;
        request = { ...request, afterSequence: sequence };
        pause = 100;
        if (event.case === "delta" && event.value.piece.case === "text") {
          parts[event.value.part] = (parts[event.value.part] ?? "") + event.value.piece.value;
        } else if (event.case === "switched" && event.value.mode === AttemptSwitched_Mode.RESTARTED) {
          parts = [];
        }
        await seen({ sequence, event });
      }
      return parts.join("");
    } catch (reason) {
      const error = ConnectError.from(reason);
      const wait = waitAfter(error);
      if (wait === undefined || signal?.aborted) throw error;
      await new Promise((done) => setTimeout(done, wait + Math.random() * pause));
      pause = Math.min(pause * 2, 5000);
    }
  }
}
