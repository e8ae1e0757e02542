// The cases in a page, which the driver opens in a browser.
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { run } from "./cases.js";
import { check } from "./grpc_web.js";

const transports = { connect: createConnectTransport, "grpc-web": createGrpcWebTransport };

globalThis.begin = (protocol, baseUrl, name) =>
  protocol === "grpc-web-client"
    ? check(baseUrl)
    : run(transports[protocol]({ baseUrl, useBinaryFormat: protocol === "grpc-web" }), name, globalThis.pause);
