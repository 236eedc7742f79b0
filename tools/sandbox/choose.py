"""Chooses how code is confined on this machine: by what the tiers' canaries say."""

import functools
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from arriero.tools.errors import ToolDefinitionError
from arriero.tools.sandbox.bubblewrap import Bubblewrap
from arriero.tools.sandbox.canaries import TierReport, probe
from arriero.tools.sandbox.landlock import Landlock
from arriero.tools.sandbox.tier import Tier
from arriero.tools.sandbox.unsafe import Unsafe
from arriero.tools.sandbox.wasi import Wasi

_log = logging.getLogger(__name__)


class NoSandbox(ToolDefinitionError):
    """No tier holds on this machine; the message has each tier's reason."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The tier to use.

    Args:
        tier: The tier.
        reports: What was found out of it, and of those that were preferred to it.
    """

    tier: Tier
    reports: tuple[TierReport, ...]

    @property
    def safe(self) -> bool:
        """Whether the tier confines anything."""
        return not isinstance(self.tier, Unsafe)


def tiers() -> tuple[Tier, ...]:
    """The tiers, best first.

    Returns:
        Those that can be tried here: the last one only if its package is installed.
    """
    return (Bubblewrap(), Landlock(), *([Wasi()] if Wasi.installed() else []))


async def choose_tier(
    *, python: str | None = None, allow_unsafe: bool = False, candidates: Sequence[Tier] | None = None
) -> Choice:
    """Find the best tier that holds on this machine, by running canaries in it.

    What was found out is kept for the process, as long as the user and the bwrap in PATH stay the same.

    Args:
        python: The interpreter that is to run code; None for the server's own.
        allow_unsafe: Run code without any sandbox where no tier holds. This is logged as a warning.
        candidates: The tiers to try, best first; None for all. Reports on these are not kept.

    Returns:
        The tier, with the reports.

    Raises:
        NoSandbox: None holds, and `allow_unsafe` is not set.

    Example:
        >>> import anyio
        >>> choice = anyio.run(choose_tier)
        >>> choice.safe, choice.reports[-1].ok
        (True, True)
    """
    reports = []
    for tier in tiers() if candidates is None else candidates:
        report = await (_probe_once(tier, python) if candidates is None else probe(tier, python=python))
        reports.append(report)
        if report.ok:
            return Choice(tier, tuple(reports))
    why = "; ".join(f"{report.tier}: {report.reason}" for report in reports)
    if not allow_unsafe:
        raise NoSandbox(
            f"no sandbox holds on this machine ({why}). Run `apt-get install bubblewrap`, or move to Linux 6.12 or"
            " newer, or pass allow_unsafe=True to run the model's code with all rights of this user"
        )
    _log.warning("code runs without a sandbox, with all rights of this user: %s", why)
    return Choice(Unsafe(), tuple(reports))


async def probe_tiers(*, python: str | None = None) -> tuple[TierReport, ...]:
    """Run the canaries in each tier, the active one's first.

    Args:
        python: The interpreter; None for the server's own.

    Returns:
        Their reports, best tier first: the first that is ok is the one that `choose_tier` takes.
    """
    return tuple([await _probe_once(tier, python) for tier in tiers()])


async def _probe_once(tier: Tier, python: str | None) -> TierReport:
    kept = _kept(os.geteuid(), shutil.which("bwrap"), python)
    if tier.name not in kept:
        kept[tier.name] = await probe(tier, python=python)
    return kept[tier.name]


@functools.cache
def _kept(user: int, bwrap: str | None, python: str | None) -> dict[str, TierReport]:
    return {}
