// A load: a turn for each line that is read, many at once, and a line for each answer.
"use strict";

const { promisify } = require("node:util");
const { setTimeout: sleep } = require("node:timers/promises");
const { answer, waitAfter } = require("./answer");

// Tells what had to be sent again for all the answers. `write` takes each answer.
async function load(chats, lines, write) {
  const sent = { calls: 0, resumed: 0 };
  const counted = {
    streamChat(request, options) {
      sent.calls += 1;
      if (request.afterSequence) sent.resumed += 1;
      return chats.streamChat(request, options);
    },
    async chat(request, options) {
      sent.calls += 1;
      return promisify(chats.chat).call(chats, request, options);
    },
  };

  const turns = [];
  for await (const line of lines) {
    const { text, session, request_id: requestId, streamed, timeout } = JSON.parse(line);
    const request = { session, requestId, messages: [{ role: "ROLE_USER", parts: [{ text }] }] };
    const asked = (streamed ? answer : whole)(counted, request, { deadline: Date.now() + timeout * 1e3 });
    turns.push(
      asked.then(
        (text) => write({ request_id: requestId, text }),
        (error) => write({ request_id: requestId, error: String(error) }),
      ),
    );
  }
  await Promise.all(turns);
  return { again: sent.calls - turns.length, resumed: sent.resumed };
}

// The text of an answer in one piece.
async function whole(chat, request, { deadline }) {
  for (let pause = 100; ; pause = Math.min(pause * 2, 5000)) {
    try {
      const { completed } = await chat.chat(request, { deadline });
      return completed.message.parts.map((part) => part.text).join("");
    } catch (error) {
      const wait = waitAfter(error);
      if (wait === undefined) throw error;
      await sleep(wait + Math.random() * pause);
    }
  }
}

module.exports = { load };
