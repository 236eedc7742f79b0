"""Train `arriero-demo` from scratch: deterministic, resumable, with progress.

On two CPU cores with nothing else to do, a chunk of about 500,000 tokens takes some 45 seconds:

    python -m arriero.models.training.train
    python -m arriero.models.training.evaluate

Stop it with Ctrl-C and start it again: it goes on from the last chunk. Give `--chunks` a smaller number to
bring the final decay of the learning rate forward. The tokenizer is read from the model's folder.
"""

import json
import math
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812
import typer
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.utils.data import DataLoader, Dataset

from arriero.models import DEMO
from arriero.models.training.dialogue import Encoded, encode
from arriero.models.training.exactness import exact_messages
from arriero.models.training.export import export
from arriero.models.training.mixture import FULL, LEARNERS_STAGES, LENGTHS, Batch, chunk
from arriero.models.training.network import Llama, Shape, weights_of
from arriero.prompts.tokens import Tokenizer

RUNS = DEMO.parent / "runs"
OTHERS_UNTIL, OTHERS_SHARE = 0.3, 0.25
"""Early on, a quarter of the tokens that the assistant does not write are learned too: copying appears sooner."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides the result."""

    chunks: int = 150
    chunk_dialogues: int = 2_000
    batch_tokens: int = 6_144
    seed: int = 1
    matrix_rate: float = 0.006
    other_rate: float = 0.0015
    warm_up_chunks: float = 1.0
    decay_from: float = 0.2
    start_from: Path | None = None

    def progress(self, number: int) -> float:
        """How far the curriculum is at a chunk; weights to start from have its first stages behind them."""
        begun = 0.0 if self.start_from is None else LEARNERS_STAGES
        return begun + (1 - begun) * number / self.chunks

    def rate(self, done: float) -> float:
        """Factor of the learning rates after `done` chunks: warm-up, constant, linear decay to a hundredth."""
        share = done / self.chunks
        decay = 1.0 if share < self.decay_from else max(0.01, (1 - share) / (1 - self.decay_from))
        return min(1.0, (done + 0.01) / self.warm_up_chunks) * decay


DEFAULT = Plan()


class Chunks(Dataset[list[Batch]]):
    """Chunks of training from number `start` on, made in another process."""

    def __init__(self, plan: Plan, start: int) -> None:
        self.plan, self.start = plan, start
        self.tokenizer: Tokenizer | None = None

    def __len__(self) -> int:
        """Chunks that are left."""
        return self.plan.chunks - self.start

    def __getitem__(self, index: int) -> list[Batch]:
        """Batches of one chunk."""
        self.tokenizer = self.tokenizer or Tokenizer.from_folder(DEMO)
        plan, number = self.plan, self.start + index
        return chunk(plan.seed, number, plan.progress(number), plan.chunk_dialogues, plan.batch_tokens, self.tokenizer)


def _targets(batch: Batch, others: float, rng: random.Random) -> tuple[Tensor, Tensor, Tensor]:
    """Flat positions to learn at, the ids that follow them, and their weights."""
    positions: list[int] = []
    wanted: list[int] = []
    weights: list[float] = []
    for row, encoded in enumerate(batch.dialogues):
        said = {i for start, stop, _ in encoded.spans for i in range(start, stop)}
        for i in range(1, len(encoded.ids)):
            if i in said or rng.random() < others:
                positions.append(row * batch.length + i - 1)
                wanted.append(encoded.ids[i])
                weights.append(1.0 if i in said else 0.2)
    spare = -len(positions) % 512  # few sizes: oneDNN compiles a kernel for each one and keeps it
    positions, wanted, weights = positions + [0] * spare, wanted + [0] * spare, weights + [0.0] * spare
    return torch.tensor(positions), torch.tensor(wanted), torch.tensor(weights)


def learn(model: Llama, batch: Batch, others: float, rng: random.Random, device: str) -> Tensor:
    """Accumulate the gradient of one batch.

    Returns:
        The mean loss, in nats, on the tokens that the assistant writes.
    """
    rows = DEFAULT.batch_tokens // batch.length
    ids = torch.zeros(rows, batch.length, dtype=torch.long)
    for row, encoded in enumerate(batch.dialogues):
        ids[row, : len(encoded.ids)] = torch.tensor(encoded.ids)
    positions, wanted, weights = (t.to(device) for t in _targets(batch, others, rng))
    with torch.autocast(device, torch.bfloat16):
        hidden = model(ids.to(device)).flatten(0, 1)[positions]
        logits = hidden @ model.embed_tokens.weight.T
    losses = F.cross_entropy(logits.float(), wanted, reduction="none")
    (losses * weights).sum().div(weights.sum()).backward()  # type: ignore[no-untyped-call]
    return losses.detach()[weights == 1.0].mean()


def held_out(tokenizer: Tokenizer, count: int) -> list[Encoded]:
    """Unseen dialogues of every task, for the progress report."""
    rng = random.Random("held out")
    return [encode(make(rng, "test", 4), tokenizer) for make in FULL for _ in range(count)]


def report(model: Llama, dialogues: list[Encoded]) -> str:
    """Exactness by task, in percent."""
    counts: dict[str, list[bool]] = {}
    for encoded, right in zip(dialogues, exact_messages(model, dialogues), strict=True):
        for (_, _, task), ok in zip(encoded.spans, right, strict=True):
            counts.setdefault(task, []).append(ok)
    return " ".join(f"{task} {100 * sum(oks) / len(oks):.0f}" for task, oks in sorted(counts.items()))


@dataclass(slots=True)
class Training:
    """A training under way."""

    plan: Plan
    model: Llama
    optimizers: list[torch.optim.Optimizer]
    device: str
    done: int = 0

    @classmethod
    def begin(cls, plan: Plan, vocabulary: int, checkpoint: Path) -> "Training":
        """Start afresh, or from a checkpoint."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.manual_seed(plan.seed)
        model = Llama(Shape(vocabulary))
        if plan.start_from is not None:
            model.load_state_dict(weights_of(plan.start_from))
        model.to(device)
        matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name]
        others = [p for name, p in model.named_parameters() if p.dim() != 2 or "embed" in name]
        muon = torch.optim.Muon(matrices, lr=plan.matrix_rate, weight_decay=0.01, momentum=0.95)
        adam = torch.optim.AdamW(others, lr=plan.other_rate, betas=(0.9, 0.98), weight_decay=0.0)
        training = cls(plan, model, [muon, adam], device)
        if checkpoint.exists():
            state: dict[str, Any] = torch.load(checkpoint, map_location=device)
            if state["seed"] != plan.seed:
                raise ValueError(f"{checkpoint} has seed {state['seed']}, not {plan.seed}: give another --name")
            model.load_state_dict(state["model"])
            for optimizer, saved in zip(training.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            training.done = state["done"]
        return training

    def save(self, checkpoint: Path) -> None:
        """Write the checkpoint, or leave the old one."""
        state = {"model": self.model.state_dict(), "optimizers": [o.state_dict() for o in self.optimizers]}
        torch.save(state | {"done": self.done, "seed": self.plan.seed}, checkpoint.with_suffix(".part"))
        os.replace(checkpoint.with_suffix(".part"), checkpoint)

    def chunk(self, batches: list[Batch], rank: int, ranks: int) -> Iterator[float]:
        """Learn a chunk, two batches to a step; yields the loss of each step."""
        others = OTHERS_SHARE if self.plan.progress(self.done) < OTHERS_UNTIL else 0.0
        for first in range(0, len(batches) - 1, 2):
            rates = self.plan.rate(self.done + first / len(batches))
            for optimizer, rate in zip(self.optimizers, (self.plan.matrix_rate, self.plan.other_rate), strict=True):
                optimizer.param_groups[0]["lr"] = rate * rates
            losses = [
                learn(self.model, batches[first + i], others, random.Random(f"{self.done}/{first + i}"), self.device)
                for i in range(rank, 2, ranks)
            ]
            self._step(ranks)
            yield float(torch.stack(losses).mean())

    def _step(self, ranks: int) -> None:
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        if ranks > 1:
            flat = torch.cat([g.flatten() for g in gradients])
            dist.all_reduce(flat)
            for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
                gradient.copy_(part.view_as(gradient))
        nn.utils.clip_grad_norm_(self.model.parameters(), 2.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()


def run(rank: int, ranks: int, plan: Plan, folder: Path, compiled: bool) -> None:
    """Train to the end of the plan, or go on from the last checkpoint; one process of `ranks`.

    Args:
        rank: Number of this process.
        ranks: How many processes share each step, 1 or 2.
        plan: What to do.
        folder: Where the checkpoint and the log are kept.
        compiled: Whether to compile the layers (some minutes at the start, then about half as fast again).
    """
    if ranks > 1:
        address = f"file://{folder.resolve()}/rendezvous"
        dist.init_process_group("gloo", init_method=address, rank=rank, world_size=ranks)
    torch.set_num_threads(1)  # two threads wait for each other at every product; two processes only once a step
    tokenizer = Tokenizer.from_folder(DEMO)
    training = Training.begin(plan, tokenizer.size, folder / "checkpoint.pt")
    if compiled:
        torch._dynamo.config.recompile_limit = 4 * len(LENGTHS)
        for layer in training.model.layers:
            layer.compile(dynamic=False)
    unseen = held_out(tokenizer, 12)
    began, start = time.monotonic(), training.done
    for batches in DataLoader(Chunks(plan, start), batch_size=None, num_workers=1, prefetch_factor=2):
        losses = list(training.chunk(batches, rank, ranks))
        training.done += 1
        loss = sum(losses) / len(losses)
        if not math.isfinite(loss):
            raise ArithmeticError(f"the loss of chunk {training.done} is {loss}: the last checkpoint is kept")
        if rank:
            continue
        training.save(folder / "checkpoint.pt")
        minutes = (time.monotonic() - began) / 60
        left = minutes / (training.done - start) * (plan.chunks - training.done)
        speed = sum(len(b.dialogues) * b.length for b in batches) * (training.done - start) / minutes / 60
        shown = report(training.model, unseen) if training.done % 3 == 0 or training.done == plan.chunks else ""
        typer.echo(
            f"chunk {training.done}/{plan.chunks} loss {loss:.4f} {speed:.0f} tokens/s {left:.0f} min left {shown}"
        )
        with (folder / "log.jsonl").open("a") as log:
            log.write(
                json.dumps(
                    {"chunk": training.done, "loss": round(loss, 4), "minutes": round(minutes, 1), "exact": shown}
                )
                + "\n"
            )
    if not rank:
        export(training.model, tokenizer, DEMO)


def main(
    chunks: Annotated[int, typer.Option(help="Chunks of about 500,000 tokens to train on.")] = DEFAULT.chunks,
    seed: Annotated[int, typer.Option(help="Seed of weights and data.")] = DEFAULT.seed,
    name: Annotated[str, typer.Option(help="Folder below models/runs for checkpoints.")] = "demo",
    processes: Annotated[int, typer.Option(help="Processes that share each step.", min=1, max=2)] = 2,
    start_from: Annotated[
        Path | None, typer.Option(help="Model folder whose weights to begin with, instead of random ones.")
    ] = None,
    compiled: Annotated[bool, typer.Option(help="Compile the layers.")] = True,
) -> None:
    """Train arriero-demo and write it to models/arriero-demo."""
    plan, folder = Plan(chunks=chunks, seed=seed, start_from=start_from), RUNS / name
    folder.mkdir(parents=True, exist_ok=True)
    if processes == 1 or torch.cuda.is_available():
        run(0, 1, plan, folder, compiled)
        return
    (folder / "rendezvous").unlink(missing_ok=True)
    spawn(run, (processes, plan, folder, compiled), nprocs=processes)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    typer.run(main)
