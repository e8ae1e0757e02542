"""The protobuf contract between applications and the server, as Python. Generated."""
