"""Version 1 of the contract. Generated from `protos/contextprotocol/v1/*.proto`."""
