"""Text models for methods: the model under test where it answers questions, or one that its card names.

Answers are drawn from each question's own seed, and kept in the cache folder, `rewrites/<identity>.jsonl`: one JSON
object per line with prompt, seed and answer, so that a run that goes on, or is run again, asks for nothing twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from fairbench import keys
from fairbench.cards.cards import HubModel, ModelCard
from fairbench.display.progress import Progress, watching
from fairbench.errors import FairbenchError, StoreError, WeightsError, storage_errors
from fairbench.networks import pretrained, weights
from fairbench.networks.sampling import gumbel, left_padded
from fairbench.protocols import UnderstandingModel
from fairbench.types import BuildContext

LIMIT = 160
"""Tokens of an answer, at most, unless a writer is made with another limit."""
VERSION = 2
"""Of what `CausalAnswers` writes. 2: a checkpoint's penalties and forced words no longer change what is drawn."""
_GREEDY: Final = {"do_sample": False, "num_beams": 1, "temperature": None, "top_p": None, "top_k": None}
"""Settings of `generate` for the most likely word at each step."""
Question = tuple[str, int]
"""A prompt and the seed that its answer is drawn from."""


class OwnAnswers:
    """The text side of the model under test."""

    def __init__(self, name: str, model: UnderstandingModel, image_key: str, limit: int | None = None) -> None:
        self.name, self._model, self._image_key, self._limit = name, model, image_key, limit or LIMIT
        self.reporter: object = model

    def identity(self) -> str:
        """Return a hash of the image key, which covers weights, adapter, dtype and, where it matters, block size."""
        return keys.digest("text", {"image_key": self._image_key, "limit": self._limit}).hex()

    def write(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        """Return the model's answers to prompts without an image."""
        return self._model.answer(prompts, [None] * len(prompts), seeds, limit=self._limit)


class CausalAnswers:
    """A causal language model in transformers format: safetensors and no remote code."""

    def __init__(self, model: HubModel, ctx: BuildContext, limit: int | None = None) -> None:
        self.name, self._ref, self._ctx = str(model.repo or model.path), model, ctx
        self._limit = limit or LIMIT
        self.on_progress: Callable[[float], None] = lambda share: None
        self.reporter: object = self

    def identity(self) -> str:
        """Return a hash of the weights and dtype, and in reduced precision of the block size."""
        folder = weights.model_folder(self._ref, self._ctx.base_dir) if self._ref.path else None
        if folder is not None and not (folder / "config.json").is_file():  # before all of its files are hashed
            raise WeightsError(f"text_model: {folder} has no config.json: name a folder of a language model.")
        shape = self._ctx.block_size if self._ctx.reduced_precision else None
        parts = [weights.model_identity(self._ref, self._ctx.base_dir), self._ctx.dtype, shape, self._limit, VERSION]
        return keys.digest("text", parts).hex()

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """Network and tokenizer. Raises WeightsError."""
        classes = ("AutoModelForCausalLM", "AutoTokenizer")
        return pretrained.writer(
            self._ref, self._ctx, self._ctx.dtype, classes, "causal language model", field="text_model"
        )

    def write(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        """Return the answers to prompts in the model's chat template, if it has one."""
        import torch

        net, tokenizer = self._loaded
        pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        ids, keep = left_padded([self._ids(tokenizer, p) for p in prompts], pad)
        chunks = gumbel(seeds, self._limit, net.get_output_embeddings().weight.shape[0])
        noise = (step for chunk in chunks for step in chunk)

        def noisy(ids_so_far: Any, scores: Any) -> Any:
            self.on_progress((ids_so_far.shape[1] - ids.shape[1]) / self._limit)
            if not scores.isfinite().all():
                raise FloatingPointError("its logits are not finite numbers")
            return scores.float() + torch.from_numpy(next(noise)).to(scores.device)

        inputs = {"input_ids": ids.to(net.device), "attention_mask": keep.to(net.device), "pad_token_id": pad}
        with torch.inference_mode():  # the most likely word under Gumbel noise is a draw at temperature 1
            out = net.generate(**inputs, logits_processor=[noisy], max_new_tokens=self._limit, **_GREEDY)
        texts: list[str] = tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)
        return [text.strip() for text in texts]

    @staticmethod
    def _ids(tokenizer: Any, prompt: str) -> list[int]:
        if not tokenizer.chat_template:
            return list(tokenizer(prompt)["input_ids"])
        message = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])


Writer = OwnAnswers | CausalAnswers
"""What writes the answers that are not in the cache, each sampled at temperature 1 from its own seed, all in one batch.

Cheap to make: it loads its weights when it first writes. identity: hex digits that stand for everything that can change
an answer, apart from prompt and seed. reporter: what reports progress while it writes (`protocols.ReportsProgress`).
"""


class CachedText:
    """A text model that remembers its answers on disk; what `MethodContext.text_model` is."""

    def __init__(self, writer: Writer, ctx: BuildContext, progress: Progress) -> None:
        self._writer, self._ctx, self._progress = writer, ctx, progress

    def identity(self) -> str:
        """Return a hash (32 hex digits) of all that can change an answer, apart from prompt and seed."""
        return self._writer.identity()

    def complete(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        """Return one answer per prompt, in order. Raises FairbenchError: memory, logits not finite, no cache."""
        questions = list(zip(prompts, seeds, strict=True))
        path = weights.cache_dir() / "rewrites" / f"{self._writer.identity()}.jsonl"
        answer_of = read(path)
        missing = [question for question in dict.fromkeys(questions) if question not in answer_of]
        if missing:
            with self._progress.stage("rewrites", len(missing), "answers") as bar:
                for block in _blocks(missing, self._ctx.block_size):
                    with watching(self._writer.reporter, bar, len(block)):
                        answers = self._write(block)
                    append(path, answers)
                    answer_of.update(answers)
                    bar.advance(len(answers))
        return [answer_of[question] for question in questions]

    def _write(self, block: Sequence[Question]) -> dict[Question, str]:
        # In reduced precision an answer depends on the shape of its batch: copies fill it up.
        fill = self._ctx.block_size - len(block) if self._ctx.reduced_precision else 0
        rows = [*block, *[block[0]] * fill]
        with _as_sentence(self._writer.name, self._ctx):
            written = self._writer.write([prompt for prompt, _ in rows], [seed for _, seed in rows])
        return dict(zip(block, written, strict=False))


def of_card(
    card: ModelCard, adapter: object, ctx: BuildContext, key: str, progress: Progress, limit: int | None = None
) -> CachedText | None:
    """Return the text model of a card: the one it names, else the model itself where it answers questions, else None.

    key: of the images. limit: tokens of an answer, at most. Loads nothing: weights are read when the first answer is
    not in the cache.
    """
    if card.text_model is not None:
        return CachedText(CausalAnswers(card.text_model, ctx, limit), ctx, progress)
    if isinstance(adapter, UnderstandingModel):
        return CachedText(OwnAnswers(card.name, adapter, key, limit), ctx, progress)
    return None


def read(path: Path) -> dict[Question, str]:
    """Return the answers that a cache file holds; a line that a kill left unfinished is skipped.

    Raises StoreError where there is a file that cannot be read.
    """
    answers: dict[Question, str] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return answers
    except OSError as err:
        raise StoreError(
            f"{path} cannot be read ({err.strerror}): fix its permissions, or name another folder in FAIRBENCH_CACHE."
        ) from err
    for line in lines:
        try:
            row = json.loads(line)
            answers[row["prompt"], row["seed"]] = row["answer"]
        except (ValueError, KeyError, TypeError):
            continue
    return answers


def append(path: Path, answers: dict[Question, str]) -> None:
    """Add answers to a cache file in one write; safe with other writers. Raises StoreError."""
    rows = [{"prompt": prompt, "seed": seed, "answer": answer} for (prompt, seed), answer in answers.items()]
    # A newline before each row: a row that a kill cut short spoils no other.
    data = "".join(f"\n{json.dumps(row)}" for row in rows).encode()
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as out:
            out.write(data)
            os.fsync(out.fileno())


def _blocks(questions: Sequence[Question], size: int) -> Iterator[list[Question]]:
    """Yield blocks of at most `size` questions with one prompt each, whose rows so have one length, without padding."""
    of_prompt: dict[str, list[Question]] = {}
    for question in questions:
        of_prompt.setdefault(question[0], []).append(question)
    for group in of_prompt.values():
        for start in range(0, len(group), size):
            yield group[start : start + size]


@contextmanager
def _as_sentence(name: str, ctx: BuildContext) -> Iterator[None]:
    """Turn what a user can fix into one sentence."""
    import torch

    try:
        yield
    except FloatingPointError as err:
        raise FairbenchError(f"{name} cannot write text in {ctx.dtype} ({err}): use --dtype float32.") from err
    except torch.OutOfMemoryError as err:
        raise FairbenchError(
            f"{name} runs out of the memory of {ctx.device} when it writes {ctx.block_size} texts at once: use a "
            "smaller --batch-size, or another device."
        ) from err
