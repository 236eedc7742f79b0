"""`<function=NAME>{...}</function>`: calls between tags (FORMATS.md section 5)."""

import re

from arriero.prompts.calls.json_calls import json_value, writable
from arriero.prompts.calls.repair import NotACall, Repairs
from arriero.prompts.messages import ToolCall

_OPENING = re.compile(r"<function=([^<>{}]+)>")


def tagged_call(text: str, repairs: Repairs) -> tuple[ToolCall, ...]:
    """The call of one tag, with or without its closing tag.

    Args:
        text: From the opening tag on.
        repairs: Where what is not documented is noted.

    Returns:
        The call.

    Raises:
        NotACall: It is something else.

    Example:
        >>> tagged_call('<function=now>{}', Repairs(False, None))
        (ToolCall(name='now', arguments={}, id=''),)
    """
    found = _OPENING.match(text)
    if found is None:
        raise NotACall("no tag")
    name = found.group(1)
    if name.strip(" \"'") != name:
        repairs.fix("took the quotes off a name")
        name = name.strip(" \"'")
    body = text[found.end() :].rstrip() if text.endswith(">") else text[found.end() :]
    if body.endswith(">"):
        body = body[: body.rfind("</function")]
    if body != body.strip():
        repairs.fix("took blanks off the parameters")
    if body.strip():
        arguments = json_value(body.strip(), repairs)
    elif repairs.offers(name):
        repairs.fix("read missing parameters as none")
        arguments = {}
    else:
        raise NotACall("no parameters")
    if not name or not isinstance(arguments, dict):
        raise NotACall("no call")
    return (writable(ToolCall(name, arguments)),)
