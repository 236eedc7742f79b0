"""Text for a terminal or a page, which must not act on what a model or a web page wrote."""

_PLAIN = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"}
_PLAIN |= dict.fromkeys([*range(0x7F, 0xA0), 0x202A, 0x202B, 0x202C, 0x202D, 0x202E, *range(0x2066, 0x206A)], "\ufffd")
_PLAIN |= dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
"""Control characters, which would let their writer do to the terminal what it likes, and what no text may hold."""


def visible(text: str) -> str:
    r"""Text with its control characters made visible.

    Args:
        text: Any text.

    Returns:
        The text, in which only newlines and tabs still act.

    Example:
        >>> visible("red: \x1b[31m")
        'red: ␛[31m'
    """
    return text.translate(_PLAIN)
