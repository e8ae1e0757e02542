"""What the codes and messages of servers with OpenAI's protocol mean."""

from __future__ import annotations

from typing import Final

from mcp_server.providers.http.failures import FailureTable, Kind

FAILURES: Final = FailureTable(
    by_code={
        "context_length_exceeded": Kind.CONTEXT,
        "exceed_context_size_error": Kind.CONTEXT,  # llama.cpp
        "string_above_max_length": Kind.CONTEXT,
        "content_filter": Kind.CONTENT,  # Azure
        "content_policy_violation": Kind.CONTENT,
        "data_inspection_failed": Kind.CONTENT,  # Alibaba
        "invalid_prompt": Kind.CONTENT,
        "moderation_blocked": Kind.CONTENT,
        "ResponsibleAIPolicyViolation": Kind.CONTENT,  # Azure
        "account_deactivated": Kind.CREDENTIALS,
        "billing_hard_limit_reached": Kind.CREDENTIALS,
        "billing_not_active": Kind.CREDENTIALS,
        "exceeded_current_quota_error": Kind.CREDENTIALS,  # Moonshot
        "insufficient_quota": Kind.CREDENTIALS,
        "invalid_api_key": Kind.CREDENTIALS,
        "DeploymentNotFound": Kind.NO_MODEL,  # Azure
        "model_not_found": Kind.NO_MODEL,
        "rate_limit_exceeded": Kind.RATE,
        "not_supported_error": Kind.UNSUPPORTED,  # llama.cpp
        "unsupported_parameter": Kind.UNSUPPORTED,
        "unsupported_value": Kind.UNSUPPORTED,
    },
    too_long=(  # of servers without a code for it (vLLM, Mistral, Fireworks, Gemini …)
        "context length",
        "context window",
        "maximum number of tokens",
        "prompt is too long",
        "reduce the length",
        "too large for model",
        "too many tokens",
    ),
)
