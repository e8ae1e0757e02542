// What Google's own client for gRPC-Web sees: a call that succeeds, and one that fails.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { GrpcWebClientBase, MethodDescriptor, MethodType } from "grpc-web";
import { ChatRequestSchema, ChatResponseSchema } from "./contextprotocol/v1/chat_pb.js";
import { Role } from "./contextprotocol/v1/message_pb.js";

const chat = new MethodDescriptor(
  "/contextprotocol.v1.ChatService/Chat",
  MethodType.UNARY,
  Object,
  Object,
  (request) => toBinary(ChatRequestSchema, request),
  (bytes) => fromBinary(ChatResponseSchema, bytes),
);

export async function check(baseUrl) {
  const found = {};
  for (const format of ["binary", "text"]) {
    const client = new GrpcWebClientBase({ format });
    const call = (messages) =>
      client.unaryCall(baseUrl + chat.getName(), create(ChatRequestSchema, { messages }), {}, chat);
    const { completed } = await call([{ role: Role.USER, parts: [{ part: { case: "text", value: "Grüße" } }] }]);
    const error = await call([]).catch((reason) => reason);
    found[format] = {
      text: completed.message.parts[0].part.value,
      code: error.code,
      message: error.message,
      details: Boolean(error.metadata["grpc-status-details-bin"]),
    };
  }
  return found;
}
