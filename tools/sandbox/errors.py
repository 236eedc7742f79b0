"""What goes wrong with the sandbox itself, as opposed to the code in it."""

from arriero.tools.errors import ToolError


class SandboxError(ToolError):
    """The sandbox could not do what was asked."""


class SandboxUnavailable(SandboxError):
    """This tier does not work on this machine; the message says why."""


class WorkerDied(SandboxError):
    """The worker ended, or broke the protocol, while it was needed for something else than a call."""
