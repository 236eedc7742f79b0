"""Results that are still known from an earlier call."""

import json
import math
import time
from collections import OrderedDict
from copy import deepcopy
from dataclasses import dataclass, replace

from arriero.tools.artifacts import ToolOutput
from arriero.tools.errors import ToolDefinitionError

_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Cache:
    """How long a pure tool's results are kept for calls with the same arguments.

    Args:
        ttl: Seconds that a result is good for.
        size: Most results to keep; the one that was used longest ago goes first. One of more than 1 MiB is not kept.

    Raises:
        ToolDefinitionError: One of them is not positive.

    Example:
        >>> Cache(ttl=60).size
        256
    """

    ttl: float = math.inf
    size: int = 256

    def __post_init__(self) -> None:
        if not (self.ttl > 0 and self.size > 0):
            raise ToolDefinitionError(f"cache: ttl is {self.ttl!r} and size is {self.size!r}; use numbers above 0")


class KnownResults:
    """The kept results of one tool.

    Args:
        cache: How many, and for how long.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._kept: OrderedDict[str, tuple[float, ToolOutput]] = OrderedDict()

    def find(self, key: str) -> ToolOutput | None:
        """The result of an earlier call.

        Args:
            key: The valid arguments as text.

        Returns:
            It, or None when there is none that is good.
        """
        found = self._kept.get(key)
        if found is None:
            return None
        if time.monotonic() >= found[0]:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return replace(found[1], content=deepcopy(found[1].content))  # whoever gets it may change it

    def keep(self, key: str, output: ToolOutput) -> None:
        """Keep a result, unless it is an error or too large.

        Args:
            key: The valid arguments as text.
            output: The result.
        """
        text = output.content if isinstance(output.content, str) else json.dumps(output.content)
        if output.error or len(text) + sum(len(attachment.data) for attachment in output.attachments) > _MOST_BYTES:
            return
        kept = replace(output, content=deepcopy(output.content))
        self._kept[key] = (time.monotonic() + self._cache.ttl, kept)
        self._kept.move_to_end(key)
        while len(self._kept) > self._cache.size:
            self._kept.popitem(last=False)
