"""Fine-tuning of an encoder on labelled texts, repeatable and resumable."""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import os
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from scripts._encoder import TextEncoderClassifier
from textclf.errors import DataFileError
from textclf.evaluation import LabelledText

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_STEPS = 500
BATCHES_PER_POOL = 50  # batches are cut from texts sorted by length, this many at a time
AVERAGING_STEPS = 10  # the average moves every so many steps: moving it costs as much as a step

Example = tuple[list[int], int]


def _setting(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What decides the weights, given the encoder and the data.

    Each field says what it is in its metadata, which the command line shows.
    """

    epochs: int = _setting(3, "passes over the data")
    batch_texts: int = _setting(32, "texts in a step")
    learning_rate: float = _setting(5e-5, "peak, after which it falls linearly to 0")
    layer_decay: float = _setting(
        1.0, "learning rate of a layer as a share of that of the layer above"
    )
    warmup_share: float = _setting(0.06, "share of the steps in which the learning rate rises")
    weight_decay: float = _setting(0.01, "of matrices; biases and norms have none")
    dropout: float = _setting(0.1, "in the encoder and before the last product")
    word_dropout: float = _setting(0.15, "share of the tokens that are masked")
    averaging: float = _setting(0.998, "share of the average of the weights that each step keeps")
    max_tokens: int = _setting(128, "longest input, special tokens included")
    seed: int = _setting(1, "of the order of the texts, of dropout and of the new weights")
    threads: int = _setting(1, "cores of one training; another number rounds differently")
    bfloat16: bool = _setting(
        default=True, meaning="multiply in bfloat16, twice as fast on a CPU that has it"
    )


def train_soup(  # noqa: PLR0913  # what decides the weights, by name
    encoder: str,
    tokenizer: Tokenizer,
    texts: Sequence[LabelledText],
    *,
    labels: int,
    recipe: Recipe,
    runs: int,
    work: Path,
) -> TextEncoderClassifier:
    """Fine-tune with ``runs`` seeds, the recipe's and those that follow it; average the weights.

    As many trainings run at once as there are CPUs. Arguments and errors are those of ``train``.

    Source: https://arxiv.org/abs/2203.05482
    """
    one = partial(train, encoder, tokenizer, texts, labels=labels, work=work)
    seeds = range(recipe.seed, recipe.seed + runs)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        states = list(pool.map(one, [replace(recipe, seed=seed) for seed in seeds]))
    model = TextEncoderClassifier(encoder, labels=labels, dropout=recipe.dropout)
    model.load_state_dict({name: _mean([s[name] for s in states]) for name in states[0]})
    model.eval()
    return model


def _mean(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(tensors)).mean(dim=0) if tensors[0].is_floating_point() else tensors[0]


def train(  # noqa: PLR0913  # what decides the weights, by name
    encoder: str,
    tokenizer: Tokenizer,
    texts: Sequence[LabelledText],
    recipe: Recipe,
    *,
    labels: int,
    work: Path,
) -> dict[str, torch.Tensor]:
    """Fine-tune ``encoder`` with its head and return the averaged weights by name.

    The state is kept in a folder of ``work`` named after the seed every ``CHECKPOINT_STEPS`` steps;
    the same call takes it up again and ends with the same weights as one that was never
    interrupted.

    Args:
        encoder: Model id or folder of a Hugging Face encoder.
        tokenizer: Of that encoder, with neither padding nor truncation.
        texts: What to learn from.
        recipe: Everything else that decides the weights.
        labels: How many labels there are.
        work: Folder for the checkpoint.

    Raises:
        DataFileError: The checkpoint belongs to another run.
    """
    torch.set_num_threads(recipe.threads)
    torch.use_deterministic_algorithms(mode=True)
    torch.manual_seed(recipe.seed)
    tokenizer.enable_truncation(recipe.max_tokens)
    encodings = tokenizer.encode_batch([text.text for text in texts])
    examples = [(e.ids, text.label) for e, text in zip(encodings, texts, strict=True)]
    run = _Run(TextEncoderClassifier(encoder, labels=labels, dropout=recipe.dropout), recipe)
    run.mask_token_id = tokenizer.token_to_id("[MASK]") or tokenizer.token_to_id("<mask>")
    folder = work / f"seed-{recipe.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    run.fit(examples, folder / CHECKPOINT)
    return run.average


class _Run:
    """The state of one training run."""

    def __init__(self, model: TextEncoderClassifier, recipe: Recipe) -> None:
        model.train()
        self.model = model
        self.average = {name: value.clone() for name, value in model.state_dict().items()}
        self.mask_token_id: int | None = None
        self._recipe = recipe
        self._optimizer = torch.optim.AdamW(_parameter_groups(model, recipe), fused=True)
        self._rates = [group["lr"] for group in self._optimizer.param_groups]
        self._step = 0

    def fit(self, examples: Sequence[Example], checkpoint: Path) -> None:
        """Take the steps that are left."""
        steps_per_epoch = math.ceil(len(examples) / self._recipe.batch_texts)
        steps = steps_per_epoch * self._recipe.epochs
        data = hashlib.sha256(repr(examples).encode()).hexdigest()
        identity = {**asdict(self._recipe), "data": data}
        if checkpoint.is_file():
            self._restore(checkpoint, identity)
        seed = self._recipe.seed
        progress = tqdm(
            desc=f"seed {seed}",
            position=seed % (os.cpu_count() or 1),
            total=steps,
            initial=self._step,
            unit="step",
            disable=None,
            smoothing=0.02,
        )
        while self._step < steps:
            epoch, done = divmod(self._step, steps_per_epoch)
            for batch in list(_batches(examples, self._recipe, epoch))[done:]:
                self._train_on(batch, steps)
                progress.update()
                if self._step % CHECKPOINT_STEPS == 0 or self._step == steps:
                    self._save(checkpoint, identity)
        progress.close()

    def _train_on(self, batch: Sequence[Example], steps: int) -> None:
        share = _learning_rate_share(self._step / steps, self._recipe.warmup_share)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * share
        input_ids, mask, labels = _tensors(batch, self.model.encoder.config.pad_token_id)
        if self._recipe.word_dropout and self.mask_token_id is not None:
            dropped = (torch.rand(mask.shape) < self._recipe.word_dropout) & (mask == 1)
            dropped[:, 0] = False
            input_ids = input_ids.masked_fill(dropped, self.mask_token_id)
        with torch.autocast("cpu", torch.bfloat16, enabled=self._recipe.bfloat16):
            logits = self.model(input_ids, mask)
        torch.autograd.backward(cross_entropy(logits.float(), labels))
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._step += 1
        if self._step % AVERAGING_STEPS == 0:
            self._move_average()

    def _move_average(self) -> None:
        warm = (1 + self._step) / (10 * AVERAGING_STEPS + self._step)  # young weights fade fast
        keep = min(self._recipe.averaging**AVERAGING_STEPS, warm)
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                if value.is_floating_point():
                    self.average[name].lerp_(value, 1 - keep)

    def _save(self, path: Path, identity: dict[str, Any]) -> None:
        unfinished = path.with_suffix(".unfinished")
        state = {
            "identity": identity,
            "step": self._step,
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizer": self._optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }
        torch.save(state, unfinished)
        unfinished.replace(path)  # a checkpoint is whole or it is not there

    def _restore(self, path: Path, identity: dict[str, Any]) -> None:
        state = torch.load(path, weights_only=True)
        if state["identity"] != identity:
            raise DataFileError(f"{path} belongs to another run; delete it or name another --work")
        self._step = state["step"]
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        self._optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])


def _parameter_groups(model: TextEncoderClassifier, recipe: Recipe) -> list[dict[str, Any]]:
    """Group the parameters by depth, with a lower learning rate the deeper they lie."""
    layers = model.encoder.config.num_hidden_layers
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        depth = 0
        if name.startswith("encoder.embeddings."):
            depth = layers + 1
        elif ".layer." in name:
            depth = layers - int(name.split(".layer.")[1].split(".")[0])
        groups.setdefault((depth, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": recipe.learning_rate * recipe.layer_decay**depth,
            "weight_decay": recipe.weight_decay if is_matrix else 0.0,
        }
        for (depth, is_matrix), parameters in groups.items()
    ]


def _learning_rate_share(progress: float, warmup: float) -> float:
    return progress / warmup if progress < warmup else (1 - progress) / (1 - warmup)


def _batches(
    examples: Sequence[Example], recipe: Recipe, epoch: int
) -> Iterator[Sequence[Example]]:
    """Yield an epoch's batches, each of texts of like length, in random order."""
    order = random.Random(f"{recipe.seed}-{epoch}")  # noqa: S311  # the order is no secret
    shuffled = list(examples)
    order.shuffle(shuffled)
    size = recipe.batch_texts
    batches = []
    for start in range(0, len(shuffled), size * BATCHES_PER_POOL):
        pool = sorted(shuffled[start : start + size * BATCHES_PER_POOL], key=lambda e: len(e[0]))
        batches += [pool[i : i + size] for i in range(0, len(pool), size)]
    order.shuffle(batches)
    yield from batches


def _tensors(
    batch: Sequence[Example], pad_token_id: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ids and mask of shape ``(texts, longest)`` and labels of shape ``(texts,)``."""
    ids = [torch.tensor(example[0]) for example in batch]
    input_ids = pad_sequence(ids, batch_first=True, padding_value=pad_token_id)
    ones = [torch.ones_like(row) for row in ids]
    mask = pad_sequence(ones, batch_first=True)
    return input_ids, mask, torch.tensor([example[1] for example in batch])
