"""How alike two models' next tokens are, on the same ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arriero.evals.errors import EvalError
from arriero.evals.quantization.overheard import Reference
from arriero.evals.statistics.estimate import Estimate
from arriero.evals.statistics.intervals import cluster_bootstrap
from arriero.stack.engine import Engine, Sampling
from arriero.stack.engines.local import TransformersEngine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TOP = 20
"""Alternatives that are asked of a server: as many as vLLM reports unless it is started otherwise."""

_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class TokenAgreement:
    """How alike a variant's next tokens are to the baseline's, at each place of the baseline's answers.

    Args:
        divergence: Mean Kullback-Leibler divergence KL(baseline || variant), in nats.
        divergence_95: What 95 % of the places stay below.
        same: Share of places with the same likeliest token.
        places: Places that were compared.
        answers: Answers that they are of.
        exact: Whether all tokens were compared. Else only those that a server reports, the others taken together,
            which can only hide a part of the divergence: it is a lower bound.
    """

    divergence: Estimate
    divergence_95: float
    same: Estimate
    places: int
    answers: int
    exact: bool


async def distributions(engine: Engine, reference: Reference) -> Any:
    """What a model gives to the tokens at each place of an answer that is given.

    Args:
        engine: The model.
        reference: The prompt and the answer.

    Returns:
        Of a model in this process, log-probabilities of all ids, one row for each place; of others, those of the
        likeliest ids by id.

    Raises:
        EngineError: The engine failed.
    """
    ids, start = [*reference.prompt, *reference.answer], len(reference.prompt)
    if isinstance(engine, TransformersEngine):
        return await engine.log_probabilities(ids, start)
    return [await _alternatives(engine, ids[: start + at]) for at in range(len(reference.answer))]


def kept(found: Any, path: Path) -> Any:
    """Distributions put aside: those over a whole vocabulary take much memory, and go into a file.

    Args:
        found: The distributions.
        path: The file, if one is needed.

    Returns:
        What `recalled` makes them of again.
    """
    import numpy as np

    if not isinstance(found, np.ndarray):
        return found
    np.save(path, found, allow_pickle=False)
    return path


def recalled(put_aside: Any) -> Any:
    """Distributions that were put aside.

    Args:
        put_aside: What `kept` returned.

    Returns:
        The distributions.
    """
    import numpy as np

    return np.load(put_aside, allow_pickle=False) if isinstance(put_aside, Path) else put_aside


def divergences(base: Any, variant: Any) -> "tuple[NDArray[np.float64], NDArray[np.bool_]]":
    """Divergence and likeliest token at each place of an answer.

    Where one side is a server's, tokens that not both name are taken together. Divergence can only become smaller by
    that (the data processing inequality), so it is a lower bound.

    Args:
        base: The baseline's distributions.
        variant: The variant's, as many.

    Returns:
        KL(base || variant) in nats, and whether the likeliest token is the same.

    Raises:
        EvalError: They are not of the same places or vocabulary.

    Source: Cover and Thomas (2006), Elements of Information Theory, sections 2.3, 2.7 and 2.8.

    Example:
        >>> import numpy as np
        >>> half, most = np.log([[0.5, 0.5]]), np.log([[0.9, 0.1]])
        >>> found, same = divergences(half, most)
        >>> round(float(found[0]), 4)
        0.5108
        >>> round(float(divergences([{0: np.log(0.5)}], [{0: np.log(0.9)}])[0][0]), 4)
        0.5108
    """
    import numpy as np

    if len(base) != len(variant):
        raise EvalError(f"{len(base)} and {len(variant)} places: compare the same answer")
    if isinstance(base, np.ndarray) and isinstance(variant, np.ndarray):
        if base.shape != variant.shape:
            raise EvalError(f"vocabularies of {base.shape[1]} and {variant.shape[1]} tokens: they cannot be compared")
        wide, other = base.astype(np.float64), variant.astype(np.float64)
        found = np.maximum((np.exp(wide) * (wide - other)).sum(axis=1), 0.0)
        return found, base.argmax(axis=1) == variant.argmax(axis=1)
    rows = [_coarse(one, other) for one, other in zip(base, variant, strict=True)]
    same = [_likeliest(one) == _likeliest(other) for one, other in zip(base, variant, strict=True)]
    return np.array(rows), np.array(same)


def agreement(
    places: Sequence[tuple[str, "NDArray[np.float64]", "NDArray[np.bool_]"]],
    *,
    exact: bool,
    level: float = 0.95,
    seed: int = 0,
) -> TokenAgreement:
    """All places together, with intervals by item.

    Args:
        places: For each answer its cluster and what `divergences` found.
        exact: Whether all tokens were compared.
        level: How often each interval is to hold the truth.
        seed: Seed of the bootstrap.

    Returns:
        The agreement.

    Raises:
        EvalError: There is only one item.
    """
    import numpy as np

    clusters = [cluster for cluster, found, _ in places for _ in found]
    values = np.concatenate([found for _, found, _ in places])
    same = np.concatenate([likeliest for *_, likeliest in places]).astype(np.float64)
    return TokenAgreement(
        divergence=cluster_bootstrap(values, clusters, level=level, seed=seed),
        divergence_95=float(np.quantile(values, 0.95)),
        same=cluster_bootstrap(same, clusters, level=level, seed=seed),
        places=values.size,
        answers=len(places),
        exact=exact,
    )


async def _alternatives(engine: Engine, ids: Sequence[int]) -> Mapping[int, float]:
    found: dict[int, float] = {}
    async for delta in engine.generate(ids, Sampling(max_tokens=1, logprobs=TOP)):
        for alternatives in delta.logprobs[:1]:
            found |= alternatives
    if not found:
        raise EvalError(f"{engine!r} reports no probabilities: they cannot be compared")
    return found


def _coarse(base: Any, variant: Any) -> float:
    """Divergence over the tokens that both name, and the rest."""
    import numpy as np

    named = set(variant) if isinstance(variant, Mapping) else set(base)
    if isinstance(base, Mapping) and isinstance(variant, Mapping):
        named &= set(base)
    ids = sorted(named)
    one, other = (np.exp([float(side[each]) for each in ids]) for side in (base, variant))
    rest, left = max(1.0 - one.sum(), _LEAST), max(1.0 - other.sum(), _LEAST)
    shares, others = np.append(one, rest), np.append(other, left)
    return max(0.0, float((shares * np.log(shares / others)).sum()))


def _likeliest(side: Any) -> int:
    return int(max(side, key=side.__getitem__)) if isinstance(side, Mapping) else int(side.argmax())
