"use strict";

const fs = require("node:fs");
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const OPTIONS = { longs: Number, enums: String, defaults: true, oneofs: true };

// The contract, from its .proto files beside this one.
const v1 = grpc.loadPackageDefinition(
  loader.loadSync(
    ["chat", "embedding", "model", "session", "turn"].map((name) => `contextprotocol/v1/${name}.proto`),
    { ...OPTIONS, includeDirs: [__dirname] },
  ),
).contextprotocol.v1;

// The health service and the details of errors, from the descriptor set that comes with the contract.
const set = fs.readFileSync(path.join(__dirname, "contextprotocol.binpb"));
const standard = loader.loadFileDescriptorSetFromBuffer(set, OPTIONS);
const { health } = grpc.loadPackageDefinition(standard).grpc;

module.exports = { v1, health: health.v1, rpc: (name) => standard[`google.rpc.${name}`] };
