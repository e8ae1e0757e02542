# Sourced by scripts/lowest and scripts/pythons
fast_tests=(tests/rpc)
