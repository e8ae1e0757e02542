// What programs with OpenAI's SDK do: chat, stream, call tools, get an object, embed, and continue a response.
// Prints what came of it in JSON.
import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "any", maxRetries: 0 });
const question = { model: "p/able", messages: [{ role: "user", content: "How is it in Rome?" }] };
const City = z.object({ city: z.string() });

const chat = await client.chat.completions.create(question);

const pieces = [];
let usage;
const stream = await client.chat.completions.create({
  ...question,
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  if (chunk.choices[0]?.delta.content) pieces.push(chunk.choices[0].delta.content);
  usage = chunk.usage ?? usage;
}

const asked = [];
const weather = zodFunction({
  name: "weather",
  description: "Tells the weather.",
  parameters: City,
  function: ({ city }) => {
    asked.push(city);
    return "sun";
  },
});
const whole = client.chat.completions.runTools({ ...question, tools: [weather] });
const streamed = client.chat.completions.runTools({ ...question, tools: [weather], stream: true });
const tools = [await whole.finalContent(), await streamed.finalContent(), asked];

const parsed = await client.chat.completions.parse({
  ...question,
  response_format: zodResponseFormat(City, "city"),
});

const vectors = await client.embeddings.create({ model: "echo/echo", input: ["abba", "z"] });

const first = await client.responses.create({ model: "p/able", input: "How is it in Rome?" });
const next = client.responses.stream({ model: "p/able", input: "And now?", previous_response_id: first.id });
const second = await next.finalResponse();

const refused = await client.chat.completions.create({ ...question, temperature: 9 }).catch((error) => error);

console.log(
  JSON.stringify({
    chat: [chat.choices[0].message.content, chat.choices[0].finish_reason, chat.usage.total_tokens],
    stream: [pieces.join(""), usage.total_tokens],
    tools,
    object: parsed.choices[0].message.parsed,
    embeddings: vectors.data.map((item) => item.embedding.slice(0, 2)),
    responses: [first.output_text, second.output_text, second.previous_response_id === first.id],
    refused: [refused instanceof OpenAI.BadRequestError, refused.param],
  }),
);
