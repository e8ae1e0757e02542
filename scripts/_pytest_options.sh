# Sourced by scripts/test and scripts/coverage: sets `pytest_options`.
#   CI=true       nothing may be skipped
#   TESTED=FILE   the tests that FILE names have run and are left out; those that run now are added to it

pytest_options=()
[ "${CI-}" != true ] || pytest_options+=(-p scripts._no_skips)
[ -z "${TESTED-}" ] || pytest_options+=(-p scripts._once --once="$TESTED")
