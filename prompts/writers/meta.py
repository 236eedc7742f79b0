"""Llama 3 to 4 as Meta's reference code writes them: what it reads is neither stripped nor moved."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from arriero.prompts.dates import in_full
from arriero.prompts.errors import InvalidMessage
from arriero.prompts.images import IMAGE, expand_images
from arriero.prompts.messages import ImagePart, Message, Parts, TextPart
from arriero.prompts.options import RenderOptions, ToolFormat
from arriero.prompts.prompt import Prompt, Segment
from arriero.prompts.template import HEADERS, content, json_text, render
from arriero.prompts.writers.meta_calls import CODE, call_texts
from arriero.prompts.writers.meta_tools import Placement, place_tools
from arriero.prompts.writers.writer import Tools


@dataclass(frozen=True, slots=True)
class WireMessage:
    """A message as its template writes it.

    Args:
        role: Who speaks.
        parts: Texts, each encoded by itself, and None where a picture stands.
        tagged: Whether `<|python_tag|>` stands before it.
        end: How it ends.
    """

    role: str
    parts: tuple[str | None, ...]
    tagged: bool
    end: Literal["eom", "eot"]


@dataclass(frozen=True, slots=True)
class MetaWriter:
    """One generation, as Meta's `ChatFormat` writes it and Meta's stack declares its tools.

    Without tools the messages are written as they are: there is no system block of its own. With tools, or built-in
    ones switched on, the stack's system block comes first (`place_tools`). Each piece of content is encoded apart, so
    a few ids differ from those of the published templates (FORMATS.md section 11).

    Args:
        generation: Whose special tokens.
        placement: How tools are declared; None where Meta's stack knows no tools.
        tool_format: Form of calls to custom tools when none is chosen.
        images: Whether the model sees pictures.
        tags: Calls that `<|python_tag|>` stands before: today's code writes it before code alone, that of February
            2025 before every call.
    """

    generation: Literal["llama3", "llama4"]
    placement: Placement | None
    tool_format: ToolFormat = "json"
    images: bool = False
    tags: Literal["code", "every"] = "code"

    @property
    def builtin_tools(self) -> bool:
        """Whether it knows the mode for built-in tools."""
        return self.placement is not None

    def conversation(self, messages: Sequence[Message], tools: Tools, options: RenderOptions) -> Prompt:
        """The prompt for a whole conversation."""
        if not messages:
            raise InvalidMessage("the conversation is empty: give at least one message")
        last = messages[-1]
        if options.continue_final_message and (last.role == "tool" or last.tool_calls):
            raise InvalidMessage("only a text message can be continued", index=len(messages) - 1)
        self._written(messages, options)  # names the message that cannot be written by its place before tools come in
        return self._render(self._placed(messages, tools, options), options, begin=True)

    def delta(self, messages: Sequence[Message], options: RenderOptions) -> Prompt:
        """What follows a finished assistant message."""
        if not messages:
            raise InvalidMessage("there is nothing to continue with: give at least one message")
        return self._render(messages, RenderOptions(tool_format=options.tool_format, repair=options.repair))

    def _placed(self, messages: Sequence[Message], tools: Tools, options: RenderOptions) -> Sequence[Message]:
        if not tools and options.builtin_tools is None:
            return messages
        if self.placement is None:
            raise InvalidMessage("this model was not taught to call tools: leave them out")
        return place_tools(
            messages,
            tools,
            placement=self.placement,
            builtin_tools=options.builtin_tools or (),
            tool_format=options.tool_format,
            date=in_full(date.today()) if options.date_string is None else options.date_string,
        )

    def _render(self, messages: Sequence[Message], options: RenderOptions, *, begin: bool = False) -> Prompt:
        prompt = render(
            f"meta/{self.generation}.jinja",
            {
                "messages": self._written(messages, options),
                "begin": begin,
                "open": options.continue_final_message,
                "generate": options.add_generation_prompt and not options.continue_final_message,
            },
        )
        return expand_images(prompt, images_of(messages)) if self.generation == "llama4" else prompt

    def _written(self, messages: Sequence[Message], options: RenderOptions) -> list[WireMessage]:
        written = []
        for index, message in enumerate(messages):
            try:
                written.append(self._message(message, options))
            except InvalidMessage as error:
                raise InvalidMessage(str(error), index=index) from None
        return written

    def _message(self, message: Message, options: RenderOptions) -> WireMessage:
        if message.role not in HEADERS:
            raise InvalidMessage(f"unknown role {message.role!r}; use one of {', '.join(HEADERS)}")
        calls = message.tool_calls
        if calls and message.role != "assistant":
            raise InvalidMessage(f"role {message.role!r} cannot make tool calls: only an assistant message can")
        parts = [*_parts(message), *call_texts(calls, options.tool_format or self.tool_format, repair=options.repair)]
        if None in parts and not self.images:
            raise InvalidMessage("this model sees no pictures: leave them out, or use a dialect with vision")
        for text in parts:
            content("" if text is None else text)
        tagged = bool(calls) and (self.tags == "every" or calls[0].name == CODE)
        return WireMessage(message.role, tuple(parts), tagged, self._end(message))

    def _end(self, message: Message) -> Literal["eom", "eot"]:
        if self.generation == "llama4" and (message.tool_calls or message.role == "tool"):
            return "eom"
        return "eom" if message.role == "assistant" and message.end == "eom" else "eot"


def render_completion(given: str | Parts) -> Prompt:
    """A prompt for a base model: nothing but what it is to go on with (FORMATS.md sections 2 and 7).

    Args:
        given: The text, or parts; a picture is seen by the text after it.

    Returns:
        The prompt.

    Raises:
        InvalidMessage: A text is not valid Unicode.

    Example:
        >>> render_completion("The sky is").text
        '<|begin_of_text|>The sky is'
    """
    segments = [Segment("<|begin_of_text|>", "special")]
    for part in (TextPart(given),) if isinstance(given, str) else given:
        if isinstance(part, ImagePart):
            segments.append(Segment(IMAGE, "special"))
        elif part.text:
            content(part.text)
            segments.append(Segment(part.text, "content", apart=True))
    return Prompt(tuple(segments))


def images_of(messages: Sequence[Message]) -> list[ImagePart]:
    """The pictures of a conversation, in order.

    Args:
        messages: The conversation.

    Returns:
        The pictures.

    Example:
        >>> images_of([Message("user", (ImagePart("cat.png"), TextPart("What is it?")))])
        [ImagePart(url='cat.png', tiles_wide=None, tiles_high=None)]
    """
    contents = (message.content for message in messages if isinstance(message.content, tuple))
    return [part for parts in contents for part in parts if isinstance(part, ImagePart)]


def _parts(message: Message) -> list[str | None]:
    if isinstance(message.content, str):
        return [message.content]
    if isinstance(message.content, tuple):
        return [part.text if isinstance(part, TextPart) else None for part in message.content]
    if message.role == "tool":
        return [json_text(message.content)]
    raise InvalidMessage(f"content must be text or parts here, not {type(message.content).__name__}")
