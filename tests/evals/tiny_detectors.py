"""Detectors small enough to be trained in a test: does a claim's word occur in the passages?"""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import tokenizers
from tokenizers import models, pre_tokenizers, processors

from arriero.evals.items import GroundingItem
from arriero.evals.judges.transformers.network import padded

WORDS = tuple("mule hay salt pass snow load rope bell".split())
_STEPS, _BATCH, _LEARNED = 600, 64, 0.03
SPECIALS = {
    "t5": ("<pad>", "</s>", "<unk>"),
    "bert": ("[PAD]", "[CLS]", "[SEP]", "[UNK]"),
    "roberta": ("<s>", "<pad>", "</s>", "<unk>"),
}


def item(seed: int, *, kept_apart: bool = False) -> GroundingItem:
    """A passage of three words, and a response of one that is or is not among them.

    Items that are kept apart have sets of words that no other item has.
    """
    generator = random.Random(seed)
    while True:
        known = generator.sample(WORDS, 3)
        if (sum(map(WORDS.index, known)) % 4 == 0) is kept_apart:
            break
    label: Literal[0, 1] = 1 if seed % 2 else 0
    word = generator.choice([other for other in WORDS if other not in known] if label else known)
    return GroundingItem(str(seed), (" ".join(known) + ".",), f"{word}.", label=label)


def item_of_two(seed: int) -> GroundingItem:
    """The same with two passages, either of which may hold the word."""
    generator = random.Random(seed)
    words = generator.sample(WORDS, len(WORDS))
    label: Literal[0, 1] = 1 if seed % 2 else 0
    word = generator.choice(words[6:] if label else words[:6])
    passages = (" ".join(words[:3]) + ".", " ".join(words[3:6]) + ".")
    return GroundingItem(str(seed), passages, f"{word}.", label=label)


def save_tokenizer(folder: Path, kind: str) -> None:
    """A tokenizer of whole words, with the special tokens of its kind of model."""
    specials = SPECIALS[kind]
    unknown = next(token for token in specials if "unk" in token.lower())
    vocabulary = {token: at for at, token in enumerate((*specials, ".", "0", "1", ":", *WORDS))}
    backend = tokenizers.Tokenizer(models.WordLevel(vocabulary, unknown))
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    backend.add_special_tokens(list(specials))
    if kind != "t5":
        start, end = ("[CLS]", "[SEP]") if kind == "bert" else ("<s>", "</s>")
        pair = f"{start} $A {end} $B:1 {end}:1"
        ids = [(start, vocabulary[start]), (end, vocabulary[end])]
        backend.post_processor = processors.TemplateProcessing(
            single=f"{start} $A {end}", pair=pair, special_tokens=ids
        )
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))


def trained(
    model: Any, logits: Callable[[Any, Any], Any], row: Callable[[GroundingItem], list[int]], *, pad: int
) -> Any:
    """Train a model to say 1 where the response's word is among the passages, until it has learned that."""
    import torch

    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1.0, (step + 1) / 20))
    model.train()
    running = 1.0
    for step in range(_STEPS):
        items = [item(1_000_000 + step * _BATCH + at) for at in range(_BATCH)]
        said = logits(*padded([row(one) for one in items], pad, "cpu"))
        targets = torch.tensor([1 - (one.label or 0) for one in items])
        loss: Any = torch.nn.functional.cross_entropy(said, targets.repeat(len(said) // len(targets)))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        running = 0.8 * running + 0.2 * loss.item()
        if running < _LEARNED:
            break
    return model.eval()


def trained_hhem(folder: Path) -> Path:
    """A model in the form of HHEM 2.1 Open: a T5 encoder under `t5.`, read at its first token, and code of its own."""
    import safetensors.torch
    import torch
    import transformers

    foundation, place = folder / "foundation", folder / "hhem"
    config = _t5(foundation)
    config.save_pretrained(foundation)
    model: Any = transformers.T5ForTokenClassification(config)
    encoded = _encoder(foundation)

    def row(one: GroundingItem) -> list[int]:
        asked = "Determine if the hypothesis is true given the premise?"
        return [0, *encoded(f"{asked} Premise: {one.context[0]} Hypothesis: {one.response}"), 1]

    trained(model, lambda ids, mask: model(input_ids=ids, attention_mask=mask).logits[:, 0], row, pad=0)
    place.mkdir()
    weights = {f"t5.{name}": value for name, value in model.state_dict().items() if "embed_tokens" not in name}
    safetensors.torch.save_file(
        {name: value.contiguous() for name, value in weights.items()}, place / "model.safetensors"
    )
    code = {"AutoModelForSequenceClassification": "modeling_hhem_v2.HHEMv2ForSequenceClassification"}
    described = {"model_type": "HHEMv2Config", "foundation": str(foundation), "auto_map": code}
    (place / "config.json").write_text(json.dumps(described))
    (place / "modeling_hhem_v2.py").write_text("raise SystemExit('code that came with a model was executed')")
    assert torch.isfinite(model.classifier.weight).all()
    return place


def trained_t5(folder: Path) -> Path:
    """A model in the form of MiniCheck-Flan-T5: it writes 0 or 1."""
    import torch
    import transformers

    model: Any = transformers.T5ForConditionalGeneration(_t5(folder))
    encoded = _encoder(folder)
    answers = [encoded("0")[0], encoded("1")[0]]

    def logits(ids: Any, mask: Any) -> Any:
        start = torch.zeros((len(ids), 1), dtype=torch.long)
        return model(input_ids=ids, attention_mask=mask, decoder_input_ids=start).logits[:, 0][:, answers]

    def row(one: GroundingItem) -> list[int]:
        return [*encoded(f"predict: {one.context[0]}"), 1, *encoded(one.response), 1]

    trained(model, logits, row, pad=0).save_pretrained(folder)
    return folder


def trained_deberta(folder: Path) -> Path:
    """A model in the form of MiniCheck-DeBERTa, which is that of a model of entailment with two labels."""
    import transformers

    save_tokenizer(folder, "bert")
    labels = {0: "not_entailment", 1: "entailment"}
    config = transformers.DebertaV2Config(
        vocab_size=32, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64, relative_attention=True, pos_att_type=["p2c", "c2p"], position_biased_input=False,
        type_vocab_size=0, hidden_dropout_prob=0, attention_probs_dropout_prob=0, pooler_dropout=0, pad_token_id=0,
        initializer_range=0.15, id2label=labels, label2id={name: at for at, name in labels.items()},
    )  # fmt: skip
    model: Any = transformers.DebertaV2ForSequenceClassification(config)
    encoded = _encoder(folder)

    def row(one: GroundingItem) -> list[int]:
        return [1, *encoded(one.context[0]), 2, *encoded(one.response), 2]

    trained(model, lambda ids, mask: model(input_ids=ids, attention_mask=mask).logits, row, pad=0)
    model.save_pretrained(folder)
    return folder


def trained_modernbert(folder: Path) -> Path:
    """A model in the form of LettuceDetect: it marks the response's word where the passages lack it."""
    import torch
    import transformers

    save_tokenizer(folder, "bert")
    described: Any = transformers.ModernBertConfig  # its annotations lack what every configuration takes
    config = described(
        vocab_size=32, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=128, initializer_range=0.15, initializer_cutoff_factor=3.0, pad_token_id=0,
        cls_token_id=1, sep_token_id=2, bos_token_id=1, eos_token_id=2, num_labels=2,
    )  # fmt: skip
    model: Any = transformers.ModernBertForTokenClassification(config)
    encoded = _encoder(folder)

    def logits(ids: Any, mask: Any) -> Any:
        places = torch.arange(len(ids))
        every = model(input_ids=ids, attention_mask=mask).logits
        # its second label is "unsupported", the others' is "supported"; the full stop goes with its word
        return torch.cat([every[places, mask.sum(1) - back].flip(-1) for back in (3, 2)])

    def row(one: GroundingItem) -> list[int]:
        shown = f"Summarize the following text: passage 1: {one.context[0]} output:"
        return [1, *encoded(shown), 2, *encoded(one.response), 2]

    trained(model, logits, row, pad=0).save_pretrained(folder)
    return folder


def without_weight(folder: Path, name: str) -> None:
    """Take a tensor out of a model's file."""
    import safetensors.torch

    file = folder / "model.safetensors"
    weights = safetensors.torch.load_file(file)
    del weights[name]
    safetensors.torch.save_file(weights, file, metadata={"format": "pt"})


def _t5(folder: Path) -> Any:
    import transformers

    save_tokenizer(folder, "t5")
    config: Any = transformers.T5Config  # its annotations lack what every configuration takes
    return config(
        vocab_size=32, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_decoder_layers=1, num_heads=4, dropout_rate=0.0,
        classifier_dropout=0.0, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, num_labels=2,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False,
    )  # fmt: skip


def _encoder(folder: Path) -> Callable[[str], list[int]]:
    backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))

    def encoded(text: str) -> list[int]:
        ids: list[int] = backend.encode(text, add_special_tokens=False).ids
        return ids

    return encoded
