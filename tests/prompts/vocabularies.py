"""Tokenizers to test with: a tiny one trained here, and Meta's own."""

from functools import cache

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from arriero.prompts.tiktoken_vocabulary import Generation, packaged_ranks
from arriero.prompts.tokens import Tokenizer

# Names of the first special ids of the Llama 3.1 vocabulary.
SPECIAL_TOKENS = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>", "<|reserved_special_token_2|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eom_id|>", "<|eot_id|>", "<|python_tag|>",
)  # fmt: skip

_CORPUS = [
    "Environment: ipython Cutting Knowledge Date: December 2023 Today Date: 26 Jul 2024",
    '{"type": "function", "function": {"name": "get_weather", "parameters": {"city": "Paris"}}}',
    "What is the weather in Paris? It is sunny. <|eot_id|> <|start_header_id|> user assistant system ipython",
    "سلام! هوای تهران امروز چطور است؟ Привет! 你好，请问上海明天的天气怎么样？ 👩‍👩‍👧‍👦",
] * 8


def tiny(*more: str) -> Tokenizer:
    """A byte-level tokenizer of some 600 entries with the special tokens of Llama 3.1, and more where named."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=[*SPECIAL_TOKENS, *more],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_CORPUS, trainer)
    return Tokenizer(backend)


@cache
def meta(generation: Generation) -> Tokenizer:
    """Meta's vocabulary of Llama 3 or 4, out of its package; an error without it."""
    file = packaged_ranks(generation)
    if file is None:
        raise LookupError("Meta's vocabulary is missing: make env installs llama-models")
    return Tokenizer.from_file(file)
