"""The answers of ELIZA: those of the first rule that fits the message, after Joseph Weizenbaum's script DOCTOR."""

import re
from typing import Final

RULES: Final = [
    (r"i need (.*)", "Why do you need {}?"),
    (r"i(?: am|'m) (.*)", "How long have you been {}?"),
    (r"i (?:feel|felt) (.*)", "Do you often feel {}?"),
    (r"because (.*)", "Is that the real reason, that {}?"),
    (r".*\b(mother|father|sister|brother)\b.*", "Tell me more about your {}."),
    (r".*\b(?:dream|dreamed|dreamt)\b.*", "What does that dream suggest to you?"),
    (r"(?:what|how|who|where|when|why)\b.*", "Why do you ask that of me?"),
    (r"(?:yes|no)\b.*", "You seem quite sure of it."),
]
OTHERWISE: Final = "Please go on with what you were saying."
REFLECTIONS: Final = {
    "i": "you",
    "me": "you",
    "my": "your",
    "am": "are",
    "you": "I",
    "your": "my",
    "myself": "yourself",
}


def reply(message: str) -> str:
    """The same each time: ELIZA does not roll dice, and remembers nothing."""
    sentence = message.strip().rstrip(".!?")
    for pattern, answer in RULES:
        if found := re.fullmatch(pattern, sentence, re.IGNORECASE | re.DOTALL):
            return answer.format(*[reflected(group) for group in found.groups()])
    return OTHERWISE


def reflected(text: str) -> str:
    """Seen from the other chair: "my work" becomes "your work"."""
    return " ".join([REFLECTIONS.get(word.lower(), word) for word in text.split()])
