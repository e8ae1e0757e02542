// The cases in Node.js: node node.js ADDRESS CASE
import readline from "node:readline";
import { createConnectTransport } from "@connectrpc/connect-node";
import { run } from "./cases.js";

const [, , address, name] = process.argv;
const transport = createConnectTransport({ baseUrl: `http://${address}`, httpVersion: "1.1" });
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

async function pause(what) {
  say({ pause: what });
  await lines.next();
}

run(transport, name, pause).then((found) => {
  say(found);
  process.exit();
});
