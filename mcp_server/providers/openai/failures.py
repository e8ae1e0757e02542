"""What the codes and messages of servers with OpenAI's protocol mean."""

from __future__ import annotations

import re
from typing import Final

from mcp_server.providers.http.failures import FailureTable, Kind


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_RATE: Final = _words(
    r"\b(tokens|requests|calls) (per|a) (second|minute|hour|day)\b",
    r"\brate.?limit(s|ed)?\b.{0,30}\b(exceeded|reached|hit)\b",
    r"\b(exceeded|reached|hit) .{0,30}\brate.?limit",
    r"\btoo many (requests|concurrent)\b",
)
_TOO_LONG: Final = _words(
    r"\bcontext[ -]?(length|window|size|limit)\b",  # OpenAI, vLLM, SGLang, Ollama, llama.cpp, LM Studio, Anthropic
    r"\bcontext_(length|window|size)_exceeded\b",  # within the words of another server
    r"\bcontext (the )?overflow",  # LM Studio
    r"\bmaximum (prompt|input|sequence|model|allowed) (length|size)\b",  # xAI, vLLM
    r"\bmaximum (allowed |supported )?(number of )?(input |prompt )?tokens\b",  # Gemini
    r"\bmax_model_len\b",  # vLLM
    r"\b(prompts?|inputs?|messages?|conversation|text) (is|are|was|were)?\s*(far |much )?too (long|large)\b",
    r"\b(input|prompt|request|query)( token| text)? (length |count |size )?(is )?too (long|large)\b",
    r"\b(prompt|input|request|message)s?\b.{0,80}\b(longer|larger|greater) than\b"
    r".{0,60}\b(length|limit|size|maximum|tokens)",
    r"\b(prompt|input)s?\b.{0,60}\bexceed(s|ed|ing)?\b.{0,60}\b(length|limit|maximum|tokens|window)\b",
    r"\btoken(s| count| limit| number)?\b.{0,40}\bexceed(s|ed|ing)? the (model|maximum|limit|context)",  # SGLang
    r"\bexceed(s|ed|ing)? (the )?(model('s)? )?(maximum )?token limit\b",  # Moonshot
    r"\binput token count (is|exceeds)\b",  # Vertex
    r"\btoo large for model\b",  # Mistral
    r"\btoo many (input |prompt )?tokens\b",  # Mistral, Cohere
    r"\breduce (the|your) (length|prompt|input|message)",  # OpenAI, Groq
    r"`?inputs`? tokens \+ `?max_new_tokens`? must be",  # Together
    r"`?inputs`? must have (less|fewer) than \d+ tokens",  # Together
    r"\brange of input length should be\b",  # Alibaba
    r"\brequest payload size exceeds\b",  # Gemini
    r"\bcontextwindowexceeded",  # LiteLLM
)
_CREDENTIALS: Final = _words(
    r"\b(incorrect|invalid|wrong|bad|missing|expired|revoked|unknown|disabled|malformed|no)"
    r"( or (missing|expired|invalid))? (x-)?(api|access|auth|authentication|subscription|secret)[ _-]?(key|token)",
    r"\b(api|access|auth|authentication|subscription|secret)[ _-]?(key|token)s?( (was|is|has( been)?))? "
    r"(not (valid|found|provided|active|authorized)"
    r"|invalid|incorrect|expired|revoked|disabled|blocked|required|missing)",
    r"\b(did not|didn't|must) provide (an|a|your)( valid)? api key",
    r"\b(authentication|authorization) (failed|failure|error|required)\b",
    r"\binvalid (authentication|credentials|authorization)\b",
    r"\b(not authenticated|unauthenticated|unauthorized)\b",
    r"\bcredit balance\b",  # Anthropic
    r"\b(insufficient|not enough|no|negative|out of) (account )?(credits?|balance|funds|quota)\b",  # DeepSeek
    r"\b(check|update|add|set up) (your )?(plan and )?(billing|payment)",
    r"\b(billing|payment|spending|credit|usage) (hard |soft |spend )?limit\b",
    r"\b(payment|subscription) (is )?(required|overdue|expired|past due)\b",
    r"\b(account|organization|project|workspace|team|subscription) (\S+ )?(is|has been|was) "
    r"(not active|inactive|deactivated|disabled|suspended|blocked|restricted|overdue|terminated|not in good standing)",
    r"\baccount is in good standing\b",  # Alibaba
    r"\b(location|country|region|territory)\b.{0,40}\bnot (supported|available|allowed)\b",  # Gemini, OpenAI
    r"\bnot (supported|available|allowed) in (your|this) (location|country|region|territory)\b",
)
_NO_MODEL: Final = _words(
    r"\bmodels?\b([ /:]+[^\s,;]+){0,4}? ((does not|doesn't|not) exist|(is |was |could )?not( be)? found"
    r"|is not available|(has been|is|was) (decommissioned|deprecated|retired|removed))\b",
    r"\b(no such|unknown|unrecognized|invalid|unsupported) model\b(?! (input|output|option|parameter|config))",
    r"\b(invalid|unknown) model[_ ](name|id)\b",  # LiteLLM, Mistral
    r"\bis not a valid model\b",  # OpenRouter
    r"\bunable to access model\b",  # Together
    r"\bno models? (is |are )?loaded\b",  # LM Studio
    r"\bno endpoints found for\b",  # OpenRouter
)

FAILURES: Final = FailureTable(
    by_code={
        "context_length_exceeded": Kind.CONTEXT,
        "context_window_exceeded": Kind.CONTEXT,
        "ContextWindowExceededError": Kind.CONTEXT,  # LiteLLM
        "exceed_context_size_error": Kind.CONTEXT,  # llama.cpp
        "model_context_window_exceeded": Kind.CONTEXT,
        "request_too_large": Kind.CONTEXT,  # Anthropic
        "string_above_max_length": Kind.CONTEXT,
        "1261": Kind.CONTEXT,  # Zhipu
        "3051": Kind.CONTEXT,  # Mistral
        "content_filter": Kind.CONTENT,  # Azure
        "content_policy_violation": Kind.CONTENT,
        "data_inspection_failed": Kind.CONTENT,  # Alibaba
        "invalid_prompt": Kind.CONTENT,
        "moderation_blocked": Kind.CONTENT,
        "ResponsibleAIPolicyViolation": Kind.CONTENT,  # Azure
        "access_denied": Kind.CREDENTIALS,
        "account_deactivated": Kind.CREDENTIALS,
        "account_suspended": Kind.CREDENTIALS,
        "api_key_expired": Kind.CREDENTIALS,
        "api_key_invalid": Kind.CREDENTIALS,  # Gemini
        "Arrearage": Kind.CREDENTIALS,  # Alibaba
        "authentication_error": Kind.CREDENTIALS,  # Anthropic, LiteLLM
        "billing_error": Kind.CREDENTIALS,
        "billing_hard_limit_reached": Kind.CREDENTIALS,
        "billing_not_active": Kind.CREDENTIALS,
        "budget_exceeded": Kind.CREDENTIALS,  # LiteLLM
        "exceeded_current_quota_error": Kind.CREDENTIALS,  # Moonshot
        "expired_api_key": Kind.CREDENTIALS,
        "incorrect_api_key": Kind.CREDENTIALS,
        "insufficient_balance": Kind.CREDENTIALS,
        "insufficient_credits": Kind.CREDENTIALS,
        "insufficient_quota": Kind.CREDENTIALS,
        "insufficient_user_quota": Kind.CREDENTIALS,
        "invalid_api_key": Kind.CREDENTIALS,
        "invalid_authentication": Kind.CREDENTIALS,
        "invalid_authentication_error": Kind.CREDENTIALS,  # Moonshot
        "invalid_token": Kind.CREDENTIALS,
        "organization_disabled": Kind.CREDENTIALS,
        "payment_required": Kind.CREDENTIALS,
        "token_expired": Kind.CREDENTIALS,
        "token_not_found_in_db": Kind.CREDENTIALS,  # LiteLLM
        "unauthenticated": Kind.CREDENTIALS,
        "unauthorized": Kind.CREDENTIALS,
        "unsupported_country_region_territory": Kind.CREDENTIALS,
        "DeploymentNotFound": Kind.NO_MODEL,  # Azure
        "invalid_model": Kind.NO_MODEL,  # Mistral
        "model_decommissioned": Kind.NO_MODEL,  # Groq
        "model_not_available": Kind.NO_MODEL,  # Together
        "model_not_found": Kind.NO_MODEL,
        "unknown_model": Kind.NO_MODEL,
        "rate_limit_error": Kind.RATE,  # Anthropic
        "rate_limit_exceeded": Kind.RATE,
        "RateLimitReached": Kind.RATE,  # Azure
        "resource_exhausted": Kind.RATE,  # Gemini
        "too_many_requests": Kind.RATE,
        "not_supported_error": Kind.UNSUPPORTED,  # llama.cpp
        "unsupported_parameter": Kind.UNSUPPORTED,
        "unsupported_value": Kind.UNSUPPORTED,
    },
    by_words=(
        (Kind.RATE, _RATE),
        (Kind.CREDENTIALS, _CREDENTIALS),
        (Kind.CONTEXT, _TOO_LONG),
        (Kind.NO_MODEL, _NO_MODEL),
    ),
)
