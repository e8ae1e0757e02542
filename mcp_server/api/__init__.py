"""The contract on any transport: protobuf in, protobuf out."""
