# Sourced by scripts/coverage, scripts/lowest and scripts/pythons: tests that take minutes, as arguments of pytest. They
# go through the interfaces that users have: gRPC, HTTP, the clients, the stores, one provider over HTTP.

fast_tests=(
  tests/client
  tests/contracts/stores
  tests/examples/test_{chat,structured_output,tools}.py
  tests/middleware
  tests/providers/test_openai*.py
  tests/rpc
  tests/stores
  tests/web/test_edge.py
  --ignore=tests/client/blocking                  # generated from tests/client
  --ignore=tests/client/integrations/test_page.py # tests a browser
  --ignore=tests/client/test_typing.py            # tests type checkers
  --ignore=tests/rpc/test_costly_requests.py      # tests how much is computed
)

# Those that show that the packages of an environment work: without what takes long and depends on none.
environment_tests=(
  "${fast_tests[@]}"
  --ignore=tests/client/test_cli_sessions.py
  --ignore=tests/contracts/stores
  --ignore=tests/rpc/test_storms.py
  --ignore=tests/stores/test_crash.py
)

# Those that depend on Python itself: threads, processes, the event loop, types, SQLite.
python_tests=(
  tests/client/test_{connection,messages,options,resume,retry,structured,tasks,threads,tools,turns}.py
  tests/rpc/test_{cancel,chat,restart,resume,tls,watch}.py
  tests/stores/test_sqlite_*.py
  tests/turns
)
