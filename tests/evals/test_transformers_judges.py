"""HHEM, MiniCheck, LettuceDetect and models of entailment, on small models of the same architectures."""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny_detectors as tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.evals.errors import EvalError
from arriero.evals.items import GroundingItem
from arriero.evals.judgement import Judge, Judgement
from arriero.evals.judges.llama.claims import EMPTY
from arriero.evals.judges.transformers import HHEMJudge, LettuceDetectJudge, MiniCheckJudge, NLIJudge
from arriero.evals.judges.transformers.network import ModelMissing, ModelUnusable
from arriero.evals.judges.transformers.premises import premises

pytestmark = pytest.mark.anyio

UNSEEN = [tiny.item(seed, kept_apart=True) for seed in range(120)]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads would only wait for each other over models this small."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def hhem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in HHEM's form, with code beside it that must not run."""
    return tiny.trained_hhem(tmp_path_factory.mktemp("hhem"))


@pytest.fixture(scope="module")
def minicheck_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.trained_t5(tmp_path_factory.mktemp("t5"))


@pytest.fixture(scope="module")
def deberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In MiniCheck's form, which is that of a model of entailment with two labels."""
    return tiny.trained_deberta(tmp_path_factory.mktemp("deberta"))


@pytest.fixture(scope="module")
def lettuce(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.trained_modernbert(tmp_path_factory.mktemp("modernbert"))


def auroc(found: Sequence[Judgement], items: Sequence[GroundingItem]) -> float:
    scores = {
        label: [one.score for one, item in zip(found, items, strict=True) if item.label == label] for label in (0, 1)
    }
    pairs = [(a or 0.0, b or 0.0) for a in scores[1] for b in scores[0]]
    return sum((a > b) + 0.5 * (a == b) for a, b in pairs) / len(pairs)


Make = Callable[..., Judge]


@pytest.fixture(params=["hhem", "minicheck_t5", "minicheck_deberta", "nli", "lettucedetect"])
def make(request: pytest.FixtureRequest) -> Make:
    """What makes each judge, over its trained model."""
    judges: dict[str, tuple[str, Callable[..., Judge]]] = {
        "hhem": ("hhem", HHEMJudge),
        "minicheck_t5": ("minicheck_t5", MiniCheckJudge),
        "minicheck_deberta": ("deberta", MiniCheckJudge),
        "nli": ("deberta", NLIJudge),
        "lettucedetect": ("lettuce", LettuceDetectJudge),
    }
    fixture, judge = judges[request.param]
    folder = request.getfixturevalue(fixture)
    return lambda **options: judge(str(folder), **options)


async def test_unseen_items_are_told_apart(make: Make) -> None:
    found = await make().judge(UNSEEN)
    assert [one.item_id for one in found] == [item.id for item in UNSEEN]
    assert auroc(found, UNSEEN) > 0.9


async def test_a_claim_may_rest_on_any_passage(make: Make) -> None:
    items = [tiny.item_of_two(seed) for seed in range(120)]
    room = {"hhem": 27, "lettucedetect": 20}.get(make().name, 15)  # that of one passage
    found = await make(max_tokens=room).judge(items)
    assert all(one.failed is None for one in found)
    assert auroc(found, items) > 0.8


async def test_unsupported_claims_have_places_and_reasons(make: Make) -> None:
    right, wrong = (next(item for item in UNSEEN if item.label == label) for label in (0, 1))
    response = f"{right.response} {wrong.response}" if right.context == wrong.context else wrong.response
    (found,) = await make().judge([GroundingItem("a", wrong.context, response)])
    (claim,) = found.claims
    assert (claim.verdict, found.score) == ("not_mentioned", claim.score)
    assert claim.span is not None
    assert response[claim.span.start : claim.span.end] == response
    assert [response[span.start : span.end].strip(".") for span in found.spans] == [response.strip(".")]
    assert response.strip(".") in found.reasons[0]


async def test_batches_do_not_change_scores(make: Make) -> None:
    judge = make()
    together = await judge.judge(UNSEEN[:12])
    alone = [(await judge.judge([item]))[0] for item in UNSEEN[:12]]
    assert [one.score for one in together] == pytest.approx([one.score for one in alone], abs=1e-5)


async def test_calls_at_once_give_each_its_own(make: Make) -> None:
    judge = make()
    halves = await asyncio.gather(judge.judge(UNSEEN[:6]), judge.judge(UNSEEN[6:12]))
    assert [one.item_id for half in halves for one in half] == [item.id for item in UNSEEN[:12]]


async def test_what_cannot_be_judged_is_said(make: Make) -> None:
    items = [
        GroundingItem("empty", ("mule hay.",), "  "),
        GroundingItem("bare", (), "mule."),
        GroundingItem("long", ("mule hay. " * 50_000,), " ".join(["mule"] * 50_000) + "."),
        UNSEEN[0],
    ]
    empty, bare, long, fine = await make().judge(items)
    assert (empty.score, empty.caveat) == (0.0, EMPTY)
    assert bare.score is not None
    assert "no passages" in (bare.caveat or "")
    assert long.score is None
    assert "split the response" in (long.failed or "")
    assert (fine.failed, fine.caveat) == (None, None)


async def test_special_tokens_in_texts_stay_text(make: Make) -> None:
    judge: Any = make()
    await judge.judge(UNSEEN[:1])
    spelled = "[SEP] </s> <pad> [CLS] <s> [PAD]"
    if isinstance(judge, LettuceDetectJudge):
        plain, hostile = (judge._part(GroundingItem("a", (text,), "hay"), (text,)).ids for text in ("mule", spelled))
    else:
        plain, hostile = (judge._ids(text, "hay") for text in ("mule", spelled))
    special = set(range(4)) - {judge._tokenizer.token_to_id("[UNK]"), judge._tokenizer.token_to_id("<unk>")}
    assert [id_ for id_ in hostile if id_ in special] == [id_ for id_ in plain if id_ in special]


async def test_halves_of_characters_and_control_characters_are_judged(make: Make) -> None:
    (found,) = await make().judge([GroundingItem("a", ("mule\ud800 \0 hay.",), "hay\udfff \0.", question="\udc00?")])
    assert found.failed is None
    assert found.score is not None


async def test_fingerprints_tell_weights_and_settings_apart(make: Make, tmp_path: Path) -> None:
    judge = make()
    folder = Path(str(judge.fingerprint["model"]))
    other = tmp_path / folder.name
    shutil.copytree(folder, other)
    weights = other / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\1\1")
    changed = type(judge)(str(other))  # type: ignore[call-arg]
    told = [
        json.dumps({**one.fingerprint, "model": ""}, sort_keys=True) for one in (judge, changed, make(max_tokens=99))
    ]
    assert len(set(told)) == 3
    assert json.dumps(judge.fingerprint) == json.dumps(make().fingerprint)


async def test_hhem_is_read_as_its_card_says(hhem: Path) -> None:
    import torch

    judge = HHEMJudge(str(hhem))
    item = GroundingItem("a", ("mule hay.",), "salt.")
    (found,) = await judge.judge([item])
    text = "Determine if the hypothesis is true given the premise?\n\nPremise: mule hay.\n\nHypothesis: salt."
    ids = [0, *judge._tokenizer.encode(text, add_special_tokens=False).ids, 1]
    with torch.inference_mode():
        logits = judge._model(input_ids=torch.tensor([ids])).logits[0, 0]
    assert found.score == pytest.approx(1 - float(torch.softmax(logits, -1)[1]), abs=1e-5)


@pytest.mark.parametrize(("likeliest", "verdict"), [(0, "contradicted"), (1, "not_mentioned"), (2, "supported")])
async def test_a_model_of_entailment_is_read_by_its_label_names(tmp_path: Path, likeliest: int, verdict: str) -> None:
    import torch
    import transformers

    tiny.save_tokenizer(tmp_path, "bert")
    labels = {0: "CONTRADICTION", 1: "neutral", 2: "Entailment"}
    config = transformers.BertConfig(
        vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        initializer_range=0.3, id2label=labels, label2id={name: at for at, name in labels.items()},
    )  # fmt: skip
    model: Any = transformers.BertForSequenceClassification(config)
    model.classifier.bias.data[likeliest] = 9.0
    model.eval().save_pretrained(tmp_path)
    (found,) = await NLIJudge(str(tmp_path)).judge([GroundingItem("a", ("mule hay.",), "salt.")])
    pair = transformers.AutoTokenizer.from_pretrained(tmp_path).backend_tokenizer.encode("mule hay.", "salt.")
    assert 0 < sum(pair.type_ids) < len(pair.ids)
    with torch.inference_mode():
        said = model(input_ids=torch.tensor([pair.ids]), token_type_ids=torch.tensor([pair.type_ids]))
    assert found.score == pytest.approx(1 - float(torch.softmax(said.logits[0], -1)[2]), abs=1e-5)
    assert found.claims[0].verdict == verdict


async def test_lettucedetect_marks_the_words_that_no_passage_has(lettuce: Path) -> None:
    known = UNSEEN[0].context[0].strip(".").split()
    (absent, *_) = [word for word in tiny.WORDS if word not in known]
    (found,) = await LettuceDetectJudge(str(lettuce)).judge([GroundingItem("a", UNSEEN[0].context, f"{absent}.")])
    assert [span.start for span in found.spans] == [0]
    assert found.spans[0].end >= len(absent)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (HHEMJudge, "vectara/hallucination_evaluation_model"),
        (MiniCheckJudge, "lytang/MiniCheck-Flan-T5-Large"),
        (LettuceDetectJudge, "KRLabsOrg/lettucedect-base-modernbert-en-v1"),
        (NLIJudge, "MoritzLaurer/DeBERTa-v3-base-mnli-fever-anli"),
    ],
)
def test_a_model_that_is_not_here_says_how_to_get_it(
    make: Callable[[], Judge], name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelMissing, match=f"hf download {name}"):
        make()


def test_a_fetched_model_is_found_by_its_name_and_commit(
    deberta: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    kept = tmp_path / "models--org--tiny"
    shutil.copytree(deberta, kept / "snapshots" / commit)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    judge = NLIJudge("org/tiny")
    assert (judge.fingerprint["model"], judge.fingerprint["revision"]) == ("org/tiny", commit)


async def test_unusable_models_are_refused(tmp_path: Path, deberta: Path, minicheck_t5: Path) -> None:
    with pytest.raises(ModelMissing, match=r"config\.json"):
        NLIJudge(str(tmp_path))
    with pytest.raises(ModelUnusable, match="no one label `entailment`"):
        NLIJudge(str(minicheck_t5))
    broken = tmp_path / "broken"
    shutil.copytree(deberta, broken)
    (broken / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelUnusable, match="broken"):
        await NLIJudge(str(broken)).judge(UNSEEN[:1])
    headless = tmp_path / "headless"
    shutil.copytree(deberta, headless)
    tiny.without_weight(headless, "classifier.weight")
    with pytest.raises(ModelUnusable, match="lack 1 tensors"):
        await MiniCheckJudge(str(headless)).judge(UNSEEN[:1])
    (broken / "config.json").write_text("[]")
    with pytest.raises(ModelUnusable, match="no JSON object"):
        NLIJudge(str(broken))


@pytest.mark.parametrize("wrong", [{"max_tokens": 0}, {"threshold": 2.0}])
def test_unusable_settings_are_refused(make: Make, wrong: dict[str, Any]) -> None:
    with pytest.raises(EvalError, match=next(iter(wrong))):
        make(**wrong)


SENTENCES = st.lists(
    st.sampled_from(["Mules fly.", "They weigh 400 kg.", "Hay is dry!", "a b c d e f g h."]), max_size=5
)


@settings(max_examples=60, deadline=None)
@given(st.lists(SENTENCES.map(" ".join).filter(bool), max_size=5), st.integers(1, 12))
def test_premises_hold_every_word_in_order_and_fit(passages: list[str], most: int) -> None:
    found = premises(passages, lambda text: len(text.split()) <= most)
    assert " ".join(found).split() == " ".join(passages).split()
    assert all(len(text.split()) <= most for text in found)


def test_a_passage_that_is_one_long_sentence_is_taken_apart_in_few_tries() -> None:
    tries = 0

    def fits(text: str) -> bool:
        nonlocal tries
        tries += 1
        return len(text.split()) <= 500

    found = premises(["mule " * 20_000], fits)
    assert [len(text.split()) for text in found] == [500] * 40
    assert tries < 1000
