"""A place for code that nobody trusts."""

from arriero.tools.sandbox.bubblewrap import Bubblewrap
from arriero.tools.sandbox.errors import SandboxError, SandboxUnavailable
from arriero.tools.sandbox.execution import Execution, FileEntry
from arriero.tools.sandbox.limits import Limits
from arriero.tools.sandbox.pool import Sandbox
from arriero.tools.sandbox.session import SandboxSession
from arriero.tools.sandbox.tier import Launched, Tier
from arriero.tools.sandbox.unsafe import Unsafe

__all__ = [
    "Bubblewrap",
    "Execution",
    "FileEntry",
    "Launched",
    "Limits",
    "Sandbox",
    "SandboxError",
    "SandboxSession",
    "SandboxUnavailable",
    "Tier",
    "Unsafe",
]
