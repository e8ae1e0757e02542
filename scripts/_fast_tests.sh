# Sourced by scripts/lowest and scripts/pythons: the tests that show within minutes that an environment works, as arguments
# of pytest. They go through the interfaces that users have: gRPC, the clients, the stores, one provider over HTTP.

fast_tests=(
  tests/client
  tests/contracts/stores
  tests/middleware
  tests/providers/test_openai*.py
  tests/rpc
  tests/stores
  --ignore=tests/client/blocking                  # generated from tests/client
  --ignore=tests/client/integrations/test_page.py # tests a browser
  --ignore=tests/client/test_typing.py            # tests type checkers
)
