"""Write a trained network as a Hugging Face model folder."""

import json
import shutil
from pathlib import Path

import torch

from arriero.models.training.network import Llama, Shape
from arriero.prompts.tokens import Tokenizer


def export(model: Llama, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the weights, the configuration files and the chat template.

    Args:
        model: The network; its weights are stored in bfloat16.
        tokenizer: The tokenizer that is already in the folder.
        folder: The model folder.
    """
    from safetensors.torch import save_file

    weights = {
        f"model.{name}": value.to(torch.bfloat16).cpu().contiguous() for name, value in model.state_dict().items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    stops = [tokenizer.special_id(token) for token in ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>")]
    begin, pad = tokenizer.special_id("<|begin_of_text|>"), tokenizer.special_id("<|finetune_right_pad_id|>")
    ids = {"bos_token_id": begin, "eos_token_id": stops, "pad_token_id": pad}
    shape = Shape(tokenizer.size)
    _write(folder / "config.json", shape.config() | ids | {"dtype": "bfloat16"})
    _write(folder / "generation_config.json", ids | {"do_sample": False})
    shutil.copy(Path(__file__).parent / "chat_template.jinja", folder)
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|begin_of_text|>",
            "eos_token": "<|eot_id|>",
            "pad_token": "<|finetune_right_pad_id|>",
            "model_max_length": shape.context,
            "clean_up_tokenization_spaces": False,
            "model_input_names": ["input_ids", "attention_mask"],
        },
    )


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
