"""Whether a scripted engine's grammar takes a text, by xgrammar."""

import xgrammar
from scripted import ScriptedEngine

from arriero.prompts.grammar import Grammar


def takes(engine: ScriptedEngine, grammar: Grammar | None, text: str) -> bool:
    """Whether the grammar allows this message, special tokens spelled out."""
    assert grammar is not None
    tokenizer = engine.tokenizer
    pieces = [tokenizer.token_bytes(id_) for id_ in range(tokenizer.size)]
    end = tokenizer.special_id("<|eot_id|>")
    info = xgrammar.TokenizerInfo(pieces, xgrammar.VocabType.RAW, vocab_size=len(pieces), stop_token_ids=[end])
    rules = xgrammar.Grammar.from_ebnf(grammar.text(tokenizer.special_ids))
    matcher = xgrammar.GrammarMatcher(xgrammar.GrammarCompiler(info).compile_grammar(rules))
    return all(matcher.accept_token(id_) for id_ in engine.encode(text)) and matcher.is_completed()
