"""A conversation at the console: what is written, stopped, edited, repeated and forked."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from mcp_server.errors import ProviderUnavailable
from mcp_server.interfaces import Finish, ReasoningDelta, ToolArgumentsDelta, ToolCallStart
from mcp_server.testing import Gate
from mcp_server.values import FinishReason, Usage, UsageSource
from tests.client.integrations.examples import Stage
from tests.web.console.browsing import Person

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_answer_appears_as_it_is_written(stage: Stage, person: Person) -> None:
    """Then it is read out once, as a whole, with who wrote it and how much."""
    gate = Gate()
    usage = Usage(input_tokens=12, output_tokens=34, source=UsageSource.REPORTED)
    stage.when("Hi", "**Hello", gate, "** there", Finish(usage=usage))
    tab = await person.tab()
    await tab.say("Hi")
    await tab.shows("Hi", "**Hello")
    await expect(tab.page.locator("[aria-busy=true]")).to_have_count(1)
    gate.open()
    await tab.shows("Hi", "Hello there")
    await tab.rests()
    await expect(tab.page.locator("article strong")).to_have_text("Hello")
    await expect(tab.page.locator("article .meta")).to_contain_text("scripted/scripted")
    await expect(tab.page.locator("article .meta")).to_contain_text("12 → 34 tokens")
    await expect(tab.page.locator("[aria-live=polite]")).to_have_text("Answer: **Hello** there")
    await expect(tab.sessions).to_contain_text(["Hi"])


async def test_a_stopped_answer_is_no_part_of_the_session(stage: Stage, person: Person) -> None:
    """Esc stops it, and the question can be taken back into the field."""
    provider = stage.when("Count", "one", Gate(), Finish())
    stage.when("Hi", "Hello", Finish())
    tab = await person.tab()
    await tab.say("Count")
    await tab.shows("Count", "one")
    await tab.page.keyboard.press("Escape")
    await expect(tab.page.locator(".outcome")).to_contain_text("Stopped.")
    assert provider.cancelled == 1
    await tab.button("Edit").click()
    await expect(tab.field).to_have_value("Count")
    await tab.say("Hi")
    await tab.shows("Hi", "Hello")
    await tab.page.reload()
    await tab.shows("Hi", "Hello")


async def test_a_failed_answer_can_be_asked_for_again(stage: Stage, person: Person) -> None:
    """The page says what went wrong, and what can be done."""
    stage.when("Hi", "He", ProviderUnavailable("the provider is away"))
    tab = await person.tab()
    await tab.say("Hi")
    await expect(tab.page.get_by_role("alert").filter(has_text="No answer.")).to_contain_text("provider is away")
    stage.when("Hi", "Hello", Finish())
    await tab.button("Try again").click()
    await tab.shows("Hi", "Hello")
    await tab.rests()


async def test_an_edited_message_replaces_what_followed(stage: Stage, person: Person) -> None:
    """The session is rewound to before it, and the new text is sent."""
    stage.when("One", "1", Finish())
    stage.when("Two", "2", Finish())
    stage.when("Three", "3", Finish())
    tab = await person.tab()
    for message in ("One", "Two"):
        await tab.say(message)
        await tab.rests()
    first = tab.page.locator("article.user").first
    await first.hover()
    await first.get_by_role("button", name="Edit and send again").click()
    await tab.page.get_by_label("Edit the message").fill("Three")
    await tab.button("Send here").click()
    await tab.shows("Three", "3")
    await tab.page.reload()
    await tab.shows("Three", "3")
    await expect(tab.sessions).to_have_count(1)


async def test_an_answer_is_written_again(stage: Stage, person: Person) -> None:
    """In the place of the old one."""
    stage.when("Hi", "Hello", Finish())
    tab = await person.tab()
    await tab.say("Hi")
    await tab.shows("Hi", "Hello")
    await tab.rests()
    stage.when("Hi", "Good morning", Finish())
    await tab.page.locator("article.answer").hover()
    await tab.button("Answer again").click()
    await tab.shows("Hi", "Good morning")
    await tab.page.reload()
    await tab.shows("Hi", "Good morning")


async def test_a_fork_leaves_its_session_as_it_is(stage: Stage, person: Person) -> None:
    """It has the messages up to the one that it was made from, and goes its own way."""
    for number in ("One", "Two", "Three"):
        stage.when(number, f"{number}!", Finish())
    tab = await person.tab()
    for number in ("One", "Two"):
        await tab.say(number)
        await tab.rests()
    whole = tab.fragment
    answer = tab.page.locator("article.answer").first
    await answer.hover()
    await answer.get_by_role("button", name="Fork from here").click()
    await tab.shows("One", "One!")
    await tab.say("Three")
    await tab.shows("One", "One!", "Three", "Three!")
    await expect(tab.sessions).to_have_count(2)
    assert tab.fragment != whole
    await (other := await person.tab(whole)).shows("One", "One!", "Two", "Two!")
    await expect(other.page.locator(".sessions .mark")).to_have_count(1)


async def test_reasoning_and_tool_calls_are_folded(stage: Stage, person: Person) -> None:
    """The model waits for the result of its tool, which a person can write."""
    stage.when(
        "Rain?",
        ReasoningDelta(text="Look."),
        "A moment.",
        ToolCallStart(id="t", name="weather"),
        ToolArgumentsDelta(id="t", text='{"city":"Lisbon"}'),
        Finish(reason=FinishReason.TOOL_CALLS),
    )
    stage.when("", "Sunny.", Finish())
    tab = await person.tab()
    await tab.say("Rain?")
    await expect(tab.page.locator(".live")).to_have_count(0)
    folded = tab.page.locator("article details")
    await expect(folded.locator("summary")).to_have_text(["Reasoning", "Called weather"])
    assert not any([await one.evaluate("fold => fold.open") for one in await folded.all()])
    await expect(tab.field).to_be_hidden()
    await tab.page.get_by_label("Result of weather").fill('{"sky": "clear"}')
    await tab.button("Send results").click()
    await expect(tab.page.locator("article").last).to_contain_text("Sunny.")
    await expect(tab.field).to_be_visible()
    await expect(tab.page.locator("article.tool-results summary")).to_have_text("Tool result")
