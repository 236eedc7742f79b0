"""Dialects: one for each way in which Llamas write conversations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from arriero.prompts.budget import Conversation
from arriero.prompts.calls.forms import SYNTAXES, CallFormat, Syntax
from arriero.prompts.calls.offers import Tool
from arriero.prompts.detection import detect
from arriero.prompts.errors import UnknownDialect
from arriero.prompts.events import Parsed
from arriero.prompts.messages import Message
from arriero.prompts.options import DEFAULT_OPTIONS, RenderOptions
from arriero.prompts.parser import Parser
from arriero.prompts.prompt import Prompt
from arriero.prompts.tokens import Tokenizer
from arriero.prompts.writers.writer import Writer


@dataclass(frozen=True, slots=True)
class Dialect:
    r"""One way to write conversations. Get one with `Dialect.get` or `Dialect.detect`.

    Args:
        name: Its name.
        writer: Writes its prompts.
        calls: How it writes calls and ends messages.
        end_of_turn: The special token that ends a turn.
        source: Whose rendering it is.

    Example:
        >>> prompt = Dialect.get("llama3.1").render([Message("user", "hello")])
        >>> prompt.text[-62:]
        'hello<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n'
    """

    name: str
    writer: Writer
    calls: CallFormat
    end_of_turn: str = "<|eot_id|>"
    source: str = "published"

    @property
    def switches_builtins(self) -> bool:
        """Whether its prompts can switch on the Llama format's own tools, which are then called undeclared.

        Example:
            >>> Dialect.get("llama3.1").switches_builtins, Dialect.get("llama3.2").switches_builtins
            (True, False)
        """
        return self.writer.builtin_tools and "builtin" in self.calls.tagged

    @classmethod
    def get(cls, name: str, source: str = "published") -> "Dialect":
        """The dialect of that name.

        Args:
            name: `llama3.1`, `llama4` ...
            source: Whose rendering: the `published` chat template, `meta` for Meta's reference code, or another that
                the dialect is known to have, as vLLM's example template `llama3.1_json`.

        Returns:
            The dialect.

        Raises:
            UnknownDialect: There is none.

        Example:
            >>> Dialect.get("llama3.3").end_of_turn
            '<|eot_id|>'
        """
        from arriero.prompts.catalogue import DIALECTS  # it holds dialects, so this module cannot need it to load

        found = DIALECTS.get((name, source))
        if found is None:
            sources = [known for dialect, known in DIALECTS if dialect == name]
            if sources:
                raise UnknownDialect(f"dialect {name!r} has no source {source!r}; it has: {', '.join(sources)}")
            names = dict.fromkeys(dialect for dialect, _ in DIALECTS)
            raise UnknownDialect(f"unknown dialect {name!r}; known: {', '.join(names)}")
        return found

    @classmethod
    def detect(cls, model: str | Path) -> "Dialect":
        """The dialect that a model speaks.

        Args:
            model: A model's id or name, or its folder, whose chat template and configuration tell more.

        Returns:
            The dialect.

        Raises:
            UnknownDialect: Nothing tells, or it is a Llama whose dialect is not known here.

        Example:
            >>> Dialect.detect("meta-llama/Llama-3.2-3B-Instruct").name
            'llama3.2'
        """
        return cls.get(*detect(model))

    @property
    def stop_tokens(self) -> tuple[str, ...]:
        """Special tokens that end generation."""
        return tuple(self.calls.ends)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        options: RenderOptions = DEFAULT_OPTIONS,
    ) -> Prompt:
        """The prompt for a conversation, exactly as the model's published template writes it.

        One thing is not the published template's: a message that says how it ended (`end`) ends so.

        Args:
            messages: The conversation, oldest first.
            tools: Tool declarations in the OpenAI shape; keys are written in the given order.
            options: See `RenderOptions`.

        Returns:
            The prompt.

        Raises:
            InvalidMessage: Empty conversation, more than one call in a message, content that is not text or not
                JSON, tools without a first user message to carry them.
        """
        prompt = self.writer.conversation(messages, tools, options)
        again = partial(self.render, options=options)
        return replace(prompt, conversation=Conversation(tuple(messages), tuple(tools), again))

    def render_delta(self, messages: Sequence[Message], options: RenderOptions = DEFAULT_OPTIONS) -> Prompt:
        r"""What follows a finished assistant message, down to the next generation prompt.

        Appended to the ids that were sent and received, it gives the ids of the whole conversation, so that nothing
        the model wrote is ever rendered again.

        Args:
            messages: Tool results, user messages.
            options: The options that the conversation began with.

        Returns:
            The prompt's continuation.

        Raises:
            InvalidMessage: As for `render`.

        Example:
            >>> Dialect.get("llama3.1").render_delta([Message("tool", "21")]).text[:55]
            '<|start_header_id|>ipython<|end_header_id|>\n\n"21"<|eot_'
        """
        return self.writer.delta(messages, options)

    def parser(
        self,
        tools: Sequence[Tool] | None = None,
        tokenizer: Tokenizer | None = None,
        *,
        syntax: Syntax = "auto",
        repair: bool = True,
    ) -> Parser:
        """A parser for one message of the model, fed piece by piece.

        Args:
            tools: The offered tools: names, or declarations, by whose schemas arguments are coerced. None when they
                are not known.
            tokenizer: The model's tokenizer, to read ids.
            syntax: How the calls are written, whatever the dialect; `"auto"` for all that the dialect writes.
            repair: Also read what is not written as documented, where it has one meaning and calls only offered
                tools (FORMATS.md sections 5 and 10). Each repair is reported. False reads the documented forms only.

        Returns:
            The parser.

        Raises:
            VocabularyMismatch: The tokenizer lacks a special token that ends the dialect's messages.

        Example:
            >>> parser = Dialect.get("llama3.1").parser()
            >>> parser.feed('{"name": "now", "para')
            []
            >>> parser.feed('meters": {}}<|eot_id|>')[-2]
            CallParsed(call=ToolCall(name='now', arguments={}, id=''), index=0)
        """
        if tokenizer is not None and syntax == "auto":
            tokenizer.require(self.stop_tokens)
        return Parser(self.calls if syntax == "auto" else SYNTAXES[syntax], tools, tokenizer, repair=repair)

    def parse(
        self,
        written: str | Sequence[int],
        tools: Sequence[Tool] | None = None,
        tokenizer: Tokenizer | None = None,
        *,
        syntax: Syntax = "auto",
        repair: bool = True,
    ) -> Parsed:
        """Read a whole message of the model.

        Args:
            written: Its text, special tokens spelled out, or its ids.
            tools: As for `parser`.
            tokenizer: The model's tokenizer, to read ids.
            syntax: As for `parser`.
            repair: As for `parser`.

        Returns:
            What it says and which calls it makes.

        Raises:
            VocabularyMismatch: Ids were given without a tokenizer, or it lacks a special token that ends messages.

        Example:
            >>> Dialect.get("llama3.1").parse("<|python_tag|>print(6 * 7)<|eom_id|>").tool_calls[0].arguments
            {'code': 'print(6 * 7)'}
        """
        parser = self.parser(tools, tokenizer, syntax=syntax, repair=repair)
        if isinstance(written, str):
            parser.feed(written)
        else:
            parser.feed_ids(written)
        return parser.finish()


__all__ = ["Dialect", "RenderOptions"]
