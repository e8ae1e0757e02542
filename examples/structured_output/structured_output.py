"""Answers that are values of a type, a dataclass and a pydantic model: ``python structured_output.py``."""

import sys
from dataclasses import dataclass

from pydantic import BaseModel, Field, field_validator

from mcp_client import InvalidAnswer, MCPError, MCPSyncClient


@dataclass
class City:
    name: str
    country: str
    people: int


class Order(BaseModel):
    drink: str = Field(min_length=1)
    cups: int = Field(ge=1, le=20)
    name: str

    @field_validator("name")
    @classmethod
    def capitalized(cls, name: str) -> str:
        """A rule that no JSON Schema states: models break it."""
        if not name[:1].isupper():
            raise ValueError(f"begin the name with a capital letter: {name.capitalize()!r}")
        return name


def main() -> None:
    with MCPSyncClient(options={"temperature": 0, "max_output_tokens": 200}) as client:
        city = client.chat("What is the capital of Italy, and how many people live there?", schema=City)
        print(f"{city.parsed.name} in {city.parsed.country} has {city.parsed.people} inhabitants")

        # With repair, one more turn tells the model what is wrong with an answer that breaks the rules.
        order = client.chat("Take the order: two cups of tea for ada.", schema=Order, repair=True)
        print(f"{order.parsed.cups} × {order.parsed.drink} for {order.parsed.name}")
        print("repaired" if order.earlier else "right at once")


if __name__ == "__main__":
    try:
        main()
    except InvalidAnswer as error:
        sys.exit(f"{error}\nThe answer was: {error.answer}")
    except MCPError as error:
        sys.exit(str(error))
