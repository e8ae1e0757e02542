"""Contract suites: tests that every implementation of an interface must pass. They need pytest."""

import pytest

for _module in ("admission", "authenticators", "context_types", "middleware", "observers", "providers"):
    # So that a failing assertion shows its values. It must be before the import.
    pytest.register_assert_rewrite(f"{__name__}.{_module}")
