"""What a code interpreter's run looks like to the model."""


def format_code_result(*, failed: bool, stdout: str, stderr: str) -> str:
    r"""A run's outcome in the form that Meta trained Llama 3 on (FORMATS.md section 6).

    Args:
        failed: Whether the run failed.
        stdout: What it printed.
        stderr: What it wrote to standard error.

    Returns:
        The text for the tool message.

    Example:
        >>> format_code_result(failed=False, stdout="42\n", stderr="")
        'completed\n[stdout]42\n[/stdout]'
    """
    lines = ["failed" if failed else "completed"]
    lines += [f"[{name}]{text}[/{name}]" for name, text in (("stdout", stdout), ("stderr", stderr)) if text]
    return "\n".join(lines)
