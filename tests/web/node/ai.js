// What programs with the AI SDK do, with a model of one of its providers: chat, stream, call tools, get an object, embed.
// Prints what came of it in JSON.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const [baseURL, way] = process.argv.slice(2);
const compatible = createOpenAICompatible({
  name: "contextprotocol",
  baseURL,
  apiKey: "any",
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const openai = createOpenAI({ baseURL, apiKey: "any" });
const anthropic = createAnthropic({ baseURL, apiKey: "any" });
const named = { compatible, chat: openai.chat, responses: openai.responses, messages: anthropic }[way];
const embeddingModel = {
  compatible: () => compatible.embeddingModel("echo/echo"),
  chat: () => openai.embedding("echo/echo"),
}[way]?.();

const question = {
  model: named("p/able"),
  maxOutputTokens: 1000,
  maxRetries: 0,
  system: "Be brief.",
  prompt: "How is it in Rome?",
};
const asked = [];
const tools = {
  weather: tool({
    description: "Tells the weather.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => {
      asked.push(city);
      return "sun";
    },
  }),
};

const chat = await generateText(question);

const stream = streamText(question);
const pieces = [];
for await (const piece of stream.textStream) pieces.push(piece);

const helped = await generateText({ ...question, tools, stopWhen: stepCountIs(3) });
const helpedStream = streamText({ ...question, tools, stopWhen: stepCountIs(3) });
await helpedStream.consumeStream();

const object = await generateText({ ...question, output: Output.object({ schema: z.object({ city: z.string() }) }) });

const { embeddings } = embeddingModel
  ? await embedMany({ model: embeddingModel, maxRetries: 0, values: ["abba", "z"] })
  : {};

const refused = await generateText({ ...question, model: named("p/none") }).catch((error) => error.statusCode);

console.log(
  JSON.stringify({
    chat: [chat.text, chat.finishReason, chat.usage.inputTokens, chat.usage.outputTokens],
    stream: [pieces.join(""), await stream.finishReason, (await stream.usage).inputTokens],
    tools: [helped.text, await helpedStream.text, helped.steps.length, asked],
    object: object.output,
    embeddings: embeddings?.map((vector) => vector.slice(0, 2)),
    refused,
  }),
);
