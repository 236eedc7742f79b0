"""Rendering whose errors name the message that is to blame."""

from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import Message
from arriero.prompts.prompt import Prompt
from arriero.prompts.template import render
from arriero.prompts.writers.checks import check_content


def render_located(template: str, variables: Mapping[str, Any], messages: Sequence[Message]) -> Prompt:
    """Render a template; when a value cannot be written, find the message that holds it.

    Contents are looked through only then: in a conversation that can be written, the template's filters are the check.

    Args:
        template: Name of the template, without the suffix.
        variables: What it reads.
        messages: The conversation as it was given.

    Returns:
        The prompt.

    Raises:
        InvalidMessage: What is wrong, and with which message.
    """
    try:
        return render(f"{template}.jinja", variables)
    except (InvalidMessage, jinja2.TemplateError, AttributeError, TypeError) as error:
        for index, message in enumerate(messages):
            try:
                check_content(message)
            except InvalidMessage as found:
                raise InvalidMessage(str(found), index=index) from None
        if isinstance(error, InvalidMessage):
            raise
        raise InvalidMessage(f"the template {template!r} cannot write this conversation: {error}") from error
