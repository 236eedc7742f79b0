"""Train the tokenizer of `arriero-demo`: byte-level BPE with the Llama 3 special tokens.

Three things differ from Llama 3's own, so that a model of a few million parameters can read tool schemas:
the fixed sentences of the prompt formats and the frame of a tool's JSON are single (ordinary, not special)
tokens; digits are single tokens; and only frequent words have a form with a space in front, so that a name
is cut the same way in a question and in JSON.

Run: python -m arriero.models.training.tokenizer
"""

import random
import re
from collections import Counter

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers

from arriero.models import DEMO
from arriero.models.training.dialogue import Dialogue, Said
from arriero.models.training.guard_tasks import act
from arriero.models.training.mixture import dialogues
from arriero.models.training.words import REAL_NOUNS
from arriero.prompts.dialect import Dialect, RenderOptions
from arriero.prompts.messages import Message

LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Llama 3 cuts text before BPE (its published tokenizer.json)."""

SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>", "<|step_id|>", "<|start_header_id|>",
           "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"]  # fmt: skip
"""Llama 3's special tokens, in the order of their ids there."""

_I = "    "
PHRASES = [
    "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n",
    "Environment: ipython\n",
    "Given the following functions, please respond with a JSON for a function call with its proper arguments that best "
    'answers the given prompt.\n\nRespond in the format {"name": function name, "parameters": dictionary of argument name '
    "and its value}.Do not use variables.\n\n",
    f'{{\n{_I}"type": "function",\n{_I}"function": {{\n{_I * 2}"name": "',
    f'",\n{_I * 2}"description": "',
    f'",\n{_I * 2}"parameters": {{\n{_I * 3}"type": "object",\n{_I * 3}"properties": {{\n{_I * 4}"',
    *(f'": {{\n{_I * 5}"type": "{kind}' for kind in ("string", "integer", "number", "boolean")),
    f'",\n{_I * 5}"description": "',
    f'"\n{_I * 4}}},\n{_I * 4}"',
    f'"\n{_I * 4}}}\n{_I * 3}}},\n{_I * 3}"required": [\n{_I * 4}"',
    f'",\n{_I * 4}"',
    f'"\n{_I * 3}]\n{_I * 2}}}\n{_I}}}\n}}\n\n',
    '{"name": "',
    '", "parameters": {"',
]
"""Runs of the Llama 3.1 tool prompt that are one token here. None is the end of another: llama.cpp cuts the longest first."""


def guard_phrases() -> list[str]:
    """The fixed parts of the Llama Guard 3 prompt, cut from a rendered one."""
    from arriero.prompts.guard import render_guard

    text = render_guard([Message("user", "@")]).text
    parts = re.split(r"<\|[a-z_]+\|>|User: @|(?<=')User|User(?= message)", text)
    return [part for part in parts if len(part) > 20]


def _texts(count: int) -> list[str]:
    """What the model reads and writes, rendered, without the phrases."""
    rng = random.Random(20261121)
    dialect, phrases = Dialect.get("llama3.1"), sorted([*PHRASES, *guard_phrases()], key=len, reverse=True)
    cut = re.compile("|".join([*map(re.escape, phrases), r"<\|[a-z_]+\|>"]))
    texts: list[str] = []
    for _, dialogue in zip(range(count), dialogues(rng, 0.6), strict=False):
        texts += cut.split(_shown(dialogue, dialect))
    everyday = [f"How do I {act(rng, 'train')[0]}?" for _ in range(4 * count)]  # else names crowd out English
    return [text for text in texts + everyday if text]


def _shown(dialogue: Dialogue, dialect: Dialect) -> str:
    said = "\n".join(turn.text for turn in dialogue.turns if isinstance(turn, Said))
    heard = [turn for turn in dialogue.turns if isinstance(turn, Message)]
    if dialogue.prompt is not None:
        return dialogue.prompt.text + said
    options = RenderOptions(builtin_tools=("code_interpreter",) if dialogue.interpreter else None)
    first = dialect.render([Message("system", dialogue.system), heard[0]], dialogue.tools, options).text
    return first + said + "".join(dialect.render_delta([turn]).text for turn in heard[1:])


def train(vocabulary: int = 2_200, frequent: int = 320, dialogues_read: int = 5_000) -> tokenizers.Tokenizer:
    """Train the tokenizer.

    Args:
        vocabulary: Size of the BPE vocabulary before phrases and special tokens.
        frequent: How many words get a form with a space in front.
        dialogues_read: How many synthetic dialogues to learn from.

    Returns:
        The tokenizer.
    """
    texts = _texts(dialogues_read)
    learner = tokenizers.Tokenizer(models.BPE())
    spaced_apart = Regex(r"\p{L}+|\p{N}| |[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+")
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(spaced_apart, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())  # listed in another order each time, and ties follow it
    learner.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    )
    vocab, merges = _bpe(learner)
    counts = Counter(match for text in texts for match in re.findall(r"(?<= )[A-Za-z]+", text))
    common = [w for w, _ in counts.most_common() if w in vocab and w not in REAL_NOUNS and w.lower() == w][:frequent]
    for word in common:
        vocab["Ġ" + word] = len(vocab)
        merges.append(("Ġ", word))
    return _finished(vocab, merges)


def _bpe(learner: tokenizers.Tokenizer) -> tuple[dict[str, int], list[tuple[str, str]]]:
    import json

    model = json.loads(learner.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def _finished(vocab: dict[str, int], merges: list[tuple[str, str]]) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges))
    split = pre_tokenizers.Split(Regex(LLAMA3_PATTERN), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(
        [AddedToken(phrase, special=False, normalized=False) for phrase in [*PHRASES, *guard_phrases()]]
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return tokenizer


def main() -> None:
    """Write `tokenizer.json` of the demo model."""
    DEMO.mkdir(exist_ok=True)
    tokenizer = train()
    tokenizer.save(str(DEMO / "tokenizer.json"))
    print(f"{tokenizer.get_vocab_size()} tokens written to {DEMO.name}/tokenizer.json")  # noqa: T201


if __name__ == "__main__":
    main()
