"""How the model of the offline judge is made. Needs scikit-learn, which the judge itself does not."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arriero.evals.items import GroundingItem
from arriero.evals.judges.claims import claims_of
from arriero.evals.judges.offline.features import FEATURES, Reading, read
from arriero.evals.judges.offline.model import SPREAD, Floats, Gate, Line, Model, inverse_frequency, words_of
from arriero.evals.judges.offline.words import stems_of

Matrix = NDArray[np.float64]

_LACKING = frozenset(
    "missing missing_count missing_exact missing_weight missing_rarest missing_unasked pairs triples names_missing"
    " names_share numbers_missing numbers_share near_missing names_window numbers_window apart units best near window"
    " run run_words passage".split()
)
GENERAL = [
    name for name in FEATURES if name.partition("_")[0] in ("all", "mean") and name.partition("_")[2] in _LACKING
]
"""Features of the model for all texts: how much of the response its passages lack, counted in several ways."""

GATE = (
    "sentences characters context_characters passages context_sentences question_mark asked question_words starts_small"
    " ends_with_stop exclamation length_ratio words_apart dialogue line_length"
).split()
"""Features that tell kinds of text apart: none of them compares a response with its passages."""

LEAST_DOCUMENTS = 4
"""Documents that a word must stand in before it has a weight of its own: what is rarer names the documents."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How the expert for a kind of text is fitted.

    Args:
        strength: Inverse of the penalty on its weights.
        word_scale: Scale of single words beside standardised features; 0 for none.
    """

    strength: float = 0.01
    word_scale: float = 2.0


SETTINGS = {
    "begin": Setting(0.03),
    "expertqa": Setting(0.003, 0.0),
    "factcheck_gpt": Setting(0.003, 0.0),
    "mtrag_human": Setting(0.003, 0.0),
    "q2": Setting(0.03),
    "summedits": Setting(0.003),
    "wice": Setting(),
}
"""Chosen by cross-validation within the train splits, by document; no test item was looked at."""

GENERAL_STRENGTH, GENERAL_SHARE, FOLDS = 0.002, 0.3, 4


@dataclass(frozen=True, slots=True)
class Part:
    """A set of labelled items, read.

    Args:
        rows: Their features.
        words: Their words.
        labels: 1 for hallucinated, 0 for supported.
        documents: A number for each item's document.
    """

    rows: Matrix
    words: list[set[str]]
    labels: Floats
    documents: NDArray[np.int64]

    def some(self, chosen: NDArray[np.intp]) -> "Part":
        """The items at some places."""
        words = [self.words[place] for place in chosen]
        return Part(self.rows[chosen], words, self.labels[chosen], self.documents[chosen])


def document_frequency(sets: Mapping[str, Sequence[GroundingItem]]) -> tuple[dict[str, float], float]:
    """Weight of each word by how few sentences of the passages it stands in, and of a word in none."""
    passages = dict.fromkeys(passage for items in sets.values() for item in items for passage in item.context)
    sentences = {tuple(stems_of(one.text)) for passage in passages for one in claims_of(passage)}
    counts = Counter(stemmed for stems in sentences for stemmed in set(stems))
    weights = {word: inverse_frequency(len(sentences), held) for word, held in counts.items() if held >= 3}
    return weights, inverse_frequency(2 * len(sentences), 3)


def part_of(items: Sequence[GroundingItem], readings: Sequence[Reading]) -> Part:
    """Labelled items and their readings, as arrays."""
    numbered: dict[str, int] = {}
    return Part(
        np.array([one.features for one in readings]),
        [words_of(one) for one in readings],
        np.array([item.label for item in items], dtype=np.float64),
        np.array([numbered.setdefault(item.doc_id, len(numbered)) for item in items]),
    )


def train(sets: Mapping[str, Sequence[GroundingItem]], about: Mapping[str, object]) -> Model:
    """Train a model.

    Args:
        sets: Labelled items by the name of their set; each is a kind of text.
        about: What to write into the model about where it comes from.

    Returns:
        The model. The same for the same items: nothing is drawn at random but the folds, by a fixed seed.
    """
    frequency, unseen = document_frequency(sets)
    parts = {
        name: part_of(items, [read(item, lambda word: frequency.get(word, unseen)) for item in items])
        for name, items in sorted(sets.items())
    }
    kinds = tuple(parts)
    general = _general(parts)
    unseen_log_odds = {
        name: _general({other: part for other, part in parts.items() if other != name}).log_odds(parts[name].rows)
        for name in kinds
    }
    experts = {name: _expert(part, SETTINGS[name]) for name, part in parts.items()}
    vocabulary = {
        word: column for column, word in enumerate(sorted({word for _, single in experts.values() for word in single}))
    }
    weights = np.zeros((len(kinds), len(vocabulary)))
    shares, calibration, out_of_fold = [], [], []
    for number, (name, part) in enumerate(parts.items()):
        for word, weight in experts[name][1].items():
            weights[number, vocabulary[word]] = weight
        alone = _out_of_fold(part, SETTINGS[name])
        shares.append(GENERAL_SHARE * float(alone.std() / unseen_log_odds[name].std()))
        both = alone + shares[-1] * unseen_log_odds[name]
        calibration.append(_calibrate(both, part.labels, balanced=True))
        out_of_fold.append(calibration[-1][0] * both + calibration[-1][1])
    labels = np.concatenate([part.labels for part in parts.values()])
    calibration.append(_calibrate(np.concatenate(list(unseen_log_odds.values())), labels, balanced=True))
    pooled = np.concatenate(out_of_fold)
    final = _calibrate(pooled, labels, balanced=False)
    return Model(
        kinds=kinds,
        gate=_gate(parts),
        general=general,
        experts=tuple(line for line, _ in experts.values()),
        words=vocabulary,
        word_weights=weights,
        general_share=np.array(shares),
        calibration=np.array(calibration),
        final=np.array(final),
        document_frequency=frequency,
        unseen=unseen,
        threshold=_threshold(
            [final[0] * one + final[1] for one in out_of_fold], [part.labels for part in parts.values()]
        ),
        about=about,
    )


def _scaled(rows: Matrix) -> tuple[Matrix, Floats, Floats]:
    # As float32, in which they are stored: the trained model and the loaded one say the same.
    mean = rows.mean(axis=0).astype(np.float32).astype(np.float64)
    scale = (rows.std(axis=0) + 1e-6).astype(np.float32).astype(np.float64)
    return np.clip((rows - mean) / scale, -SPREAD, SPREAD), mean, scale


def _general(parts: Mapping[str, Part]) -> Line:
    """One regression for all sets; each counts by the root of its size, both classes alike."""
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

    rows = np.concatenate([part.rows for part in parts.values()])
    labels = np.concatenate([part.labels for part in parts.values()])
    weights = np.concatenate(
        [
            np.where(part.labels == 1, 0.5 / part.labels.sum(), 0.5 / (1 - part.labels).sum()) * len(part.labels) ** 0.5
            for part in parts.values()
        ]
    )
    columns = [FEATURES.index(name) for name in GENERAL]
    standard, mean, scale = _scaled(rows)
    fitted = LogisticRegression(C=GENERAL_STRENGTH, max_iter=1_000)
    fitted.fit(standard[:, columns], labels, sample_weight=weights / weights.mean())
    used = np.zeros(len(FEATURES))
    used[columns] = fitted.coef_[0]
    return Line(mean, scale, used, float(fitted.intercept_[0]))


def _vocabulary(part: Part) -> set[str]:
    held: dict[str, set[int]] = {}
    for words, document in zip(part.words, part.documents.tolist(), strict=True):
        for word in words:
            held.setdefault(word, set()).add(document)
    return {word for word, documents in held.items() if len(documents) >= LEAST_DOCUMENTS}


def _expert(part: Part, setting: Setting) -> tuple[Line, dict[str, float]]:
    """A regression on all features and, with `word_scale`, on single words."""
    from scipy import sparse
    from sklearn.linear_model import LogisticRegression

    standard, mean, scale = _scaled(part.rows)
    words = sorted(_vocabulary(part)) if setting.word_scale else []
    column = {word: place for place, word in enumerate(words)}
    there = [(row, column[word]) for row, held in enumerate(part.words) for word in held if word in column]
    places = np.array(there, dtype=np.intp).reshape(-1, 2)
    marks = sparse.csr_matrix(
        (np.full(len(places), setting.word_scale), (places[:, 0], places[:, 1])), shape=(len(part.words), len(words))
    )
    both = sparse.hstack([sparse.csr_matrix(standard), marks]).tocsr()
    both.sort_indices()
    fitted = LogisticRegression(C=setting.strength, max_iter=1_000, class_weight="balanced").fit(both, part.labels)
    weights = fitted.coef_[0]
    features = len(FEATURES)
    single = dict(zip(words, (weights[features:] * setting.word_scale).tolist(), strict=True))
    return Line(mean, scale, weights[:features], float(fitted.intercept_[0])), single


def _out_of_fold(part: Part, setting: Setting) -> Floats:
    """Log-odds of each item by an expert that saw nothing of its document."""
    from sklearn.model_selection import StratifiedGroupKFold  # type: ignore[import-untyped]

    log_odds = np.zeros(len(part.labels))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=1)
    for fitted, left in folds.split(part.rows, part.labels, part.documents):
        line, single = _expert(part.some(fitted), setting)
        told = [sum(single.get(word, 0.0) for word in sorted(part.words[place])) for place in left]
        log_odds[left] = line.log_odds(part.rows[left]) + np.array(told)
    return log_odds


def _calibrate(log_odds: Floats, labels: Floats, *, balanced: bool) -> tuple[float, float]:
    """Slope and intercept that make log-odds those of a probability; `balanced`, as if both classes were as common.

    Source: Platt (1999), Advances in Large Margin Classifiers, 61-74.
    """
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=100.0, max_iter=1_000, class_weight="balanced" if balanced else None)
    fitted.fit(log_odds[:, None], labels)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def _gate(parts: Mapping[str, Part]) -> Gate:
    from sklearn.linear_model import LogisticRegression

    columns = np.array([FEATURES.index(name) for name in GATE])
    rows = np.concatenate([part.rows[:, columns] for part in parts.values()])
    mean, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    standard = [np.clip((part.rows[:, columns] - mean) / scale, -6, 6) for part in parts.values()]
    kinds = np.concatenate([np.full(len(one), number) for number, one in enumerate(standard)])
    weights = np.concatenate([np.full(len(one), len(one) ** -0.5) for one in standard])
    fitted = LogisticRegression(C=1.0, max_iter=2_000)
    fitted.fit(np.concatenate(standard), kinds, sample_weight=weights / weights.mean())
    coefficients, intercepts = fitted.coef_, fitted.intercept_
    if len(standard) == 2:  # scikit-learn gives one row then
        coefficients, intercepts = np.concatenate([-coefficients, coefficients]) / 2, np.array([-1, 1]) * intercepts / 2
    centres = np.array([one.mean(axis=0) for one in standard])
    precisions = np.array([np.linalg.inv(np.cov(one.T) + 0.01 * np.eye(len(columns))) for one in standard])
    limits = [
        np.quantile(np.sqrt(np.einsum("ij,jk,ik->i", one - centre, precision, one - centre)), 0.95)
        for one, centre, precision in zip(standard, centres, precisions, strict=True)
    ]
    return Gate(columns, mean, scale, coefficients, intercepts, centres, precisions, np.array(limits))


def _threshold(log_odds: Sequence[Floats], labels: Sequence[Floats]) -> float:
    """The score that flags best: the highest balanced accuracy, mean over the sets, in whole hundredths."""

    def accuracy(score: float) -> float:
        cut = np.log(score / (1 - score))
        sides = [(said >= cut, truth == 1) for said, truth in zip(log_odds, labels, strict=True)]
        return float(np.mean([(said[truth].mean() + (~said[~truth]).mean()) / 2 for said, truth in sides]))

    return max((hundredth / 100 for hundredth in range(20, 81)), key=accuracy)
