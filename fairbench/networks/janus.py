"""A loaded Janus checkpoint: prompt -> image tokens -> pixels. The loop is ours; every layer is transformers' own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairbench.errors import WeightsError
from fairbench.networks.hub import first_line
from fairbench.networks.sampling import StepDecoder, gumbel, left_padded
from fairbench.types import RgbImage

TEXT_MULTIPLE = 64
"""Prompts are left-padded to a multiple of this many tokens, whatever else is in their batch."""


class JanusModel:
    """One checkpoint on one device, in inference mode. `net` is transformers' JanusForConditionalGeneration.

    prompt_format: the conversation around a text, which stands for its {text}; None: the checkpoint's chat template.
    """

    def __init__(self, net: Any, processor: Any, prompt_format: str | None = None) -> None:
        self.net = net
        self.processor = processor
        self.prompt_format = prompt_format
        self.tokens_per_image: int = net.config.vision_config.num_image_tokens
        self.image_size: int = net.config.vision_config.image_size
        self.vocabulary: int = net.config.vq_config.num_embeddings
        tokenizer = processor.tokenizer
        self.bos, self.pad = tokenizer.bos_token_id, tokenizer.pad_token_id
        self.boi: int = tokenizer.convert_tokens_to_ids(processor.image_start_token)

    def prompt_ids(self, text: str) -> list[int]:
        """Return BOS, the conversation around `text` without a system prompt, and the begin-of-image token."""
        ids = self.processor.tokenizer(self.conversation(text), add_special_tokens=False)["input_ids"]
        # Whether a tokenizer adds BOS by itself differs between library versions; the model was trained with it.
        return [self.bos, *ids, self.boi]

    def question_ids(self, question: str, with_image: bool) -> list[int]:
        """Return BOS and the conversation around a question, below an image's placeholders where there is one.

        With the system prompt where the processor is set to give one: it does so for text, never for images.
        """
        from transformers.models.janus.processing_janus import DEFAULT_SYSTEM_PROMPT

        prompt = self.conversation(question, with_image)
        prompt = prompt.replace(self.processor.image_token, self.processor.replace_image_token({}, 0))
        if self.processor.use_default_system_prompt:
            prompt = DEFAULT_SYSTEM_PROMPT + prompt
        return [self.bos, *self.processor.tokenizer(prompt, add_special_tokens=False)["input_ids"]]

    def conversation(self, text: str, with_image: bool = False) -> str:
        """Return a conversation of one text, stripped, below an image's placeholder where there is one."""
        if self.prompt_format is not None:
            placeholder = f"{self.processor.image_token}\n" if with_image else ""
            return self.prompt_format.replace("{text}", placeholder + text.strip())
        content = [{"type": "image"}] * with_image + [{"type": "text", "text": text}]
        message = [{"role": "user", "content": content}]
        return str(self.processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False))

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        guidance: float = 5.0,
        temperature: float = 1.0,
        *,
        read_once: bool = False,
        on_step: Callable[[int], None] = lambda step: None,
    ) -> NDArray[np.int64]:
        """Draw the image tokens of `prompts` (token ids, unequal lengths): shape (images, tokens_per_image).

        An image whose logits are not finite at some step gets a row of -1. At guidance 1 the batch is not doubled.
        read_once: equal prompts are one row until the first token is drawn; the shape of what is computed then depends
        on how many differ, which matters in reduced precision. on_step: called with the number of tokens drawn so far.
        """
        import torch

        with torch.inference_mode():
            images, total = len(prompts), self.tokens_per_image
            hidden, decoder = self._read(prompts, doubled=guidance != 1, once=read_once)
            tokens = torch.empty((images, total), dtype=torch.long, device=hidden.device)
            finite = torch.ones(images, dtype=torch.bool, device=hidden.device)
            step = 0
            for chunk in gumbel(seeds, total, self.vocabulary):
                for noise in torch.from_numpy(chunk).to(hidden.device):
                    # In float32 whatever the weights are: guidance multiplies the rounding errors of the logits.
                    logits = self.net.model.generation_head(hidden).float()
                    if guidance != 1:
                        stated, blank = logits[:images], logits[images:]
                        logits = torch.add(blank, stated - blank, alpha=guidance)
                    best, drawn = logits.add(noise, alpha=temperature).max(dim=-1)
                    finite &= best.isfinite()
                    tokens[:, step] = drawn
                    step += 1
                    on_step(step)
                    if step < total:
                        embeds = self.net.prepare_embeddings_for_image_generation(drawn[:, None])
                        hidden = decoder(embeds.repeat(len(hidden) // images, 1, 1))
            return np.asarray(torch.where(finite[:, None], tokens, -1).cpu().numpy(), dtype=np.int64)

    def _read(self, prompts: Sequence[Sequence[int]], doubled: bool, once: bool) -> tuple[Any, StepDecoder]:
        """Return the hidden states after the prompts (rows, hidden), and the decoder that goes on from there."""
        import torch

        keys = [tuple(prompt) for prompt in prompts]
        distinct = list(dict.fromkeys(keys)) if once else keys
        embeds, keep = self._prefill_rows(distinct, doubled)
        decoder = StepDecoder(self.net.model.language_model, keep, self.tokens_per_image)
        hidden = decoder(embeds)
        if len(distinct) < len(keys):
            row_of = {key: row for row, key in enumerate(distinct)}
            rows = torch.tensor([row_of[key] for key in keys], device=hidden.device)
            if doubled:
                rows = torch.cat([rows, rows + len(distinct)])
            decoder.select(rows)
            hidden = hidden[rows]
        return hidden, decoder

    def _prefill_rows(self, prompts: Sequence[Sequence[int]], doubled: bool) -> tuple[Any, Any]:
        """Return embeddings (rows, T, hidden) and which positions are text (rows, T), T a multiple of TEXT_MULTIPLE.

        The second half of a doubled batch is unconditional; the padding on the left stays masked in both.
        """
        import torch

        ids, keep = left_padded(prompts, self.pad, padded_length(max(map(len, prompts))))
        if doubled:
            ids, keep = torch.cat([ids, self.blanked(ids)]), torch.cat([keep, keep])
        device = self.net.device
        return self.net.get_input_embeddings()(ids.to(device)), keep.to(device)

    def blanked(self, ids: Any) -> Any:
        """Return the unconditional form of token ids: every one but BOS and begin-of-image becomes a padding token.

        Where these stand for text they are attended like text, as the models were trained.
        """
        return ids.masked_fill((ids != self.bos) & (ids != self.boi), self.pad)

    def pixels(self, tokens: NDArray[np.int64]) -> RgbImage:
        """Decode one image's tokens (N,). Raises FloatingPointError where the decoder gives NaN or infinity.

        One at a time: convolutions of another batch size may round differently, and the decoder's activations at full
        resolution would otherwise set the memory need.
        """
        import torch

        with torch.inference_mode():
            row = torch.from_numpy(tokens[None]).to(self.net.device)
            values = self.net.decode_image_tokens(row)[0].float().cpu().numpy()
        if not np.isfinite(values).all():
            raise FloatingPointError("the image decoder gave pixels that are not finite numbers")
        return rgb(values)


def rgb(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Map decoded values in [-1, 1] to 8 bits. The official formula, clip((x + 1) / 2 * 255), truncates."""
    return np.asarray(np.clip((values + 1) / 2 * 255, 0, 255), dtype=np.uint8)


def padded_length(tokens: int) -> int:
    """Return the length to which a prompt of so many tokens is padded."""
    return -(-tokens // TEXT_MULTIPLE) * TEXT_MULTIPLE


def load(folder: Path, device: str, dtype: str, prompt_format: str | None = None) -> JanusModel:
    """Load a checkpoint in transformers format. Raises WeightsError for a folder that is not one."""
    import torch
    from safetensors import SafetensorError
    from transformers import JanusForConditionalGeneration, JanusProcessor, PreTrainedTokenizerFast
    from transformers.utils import logging

    check_format(folder)
    logging.disable_progress_bar()  # its bar would tear the run's own
    try:
        net, info = JanusForConditionalGeneration.from_pretrained(
            folder, dtype=getattr(torch, dtype), use_safetensors=True, local_files_only=True, output_loading_info=True
        )
        processor = JanusProcessor.from_pretrained(folder, local_files_only=True)
        # These checkpoints call their tokenizer a LlamaTokenizer, for which transformers 5 may install a pre-tokenizer
        # of its own that drops every space; this class keeps what tokenizer.json says.
        processor.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        model = JanusModel(net.eval().requires_grad_(False), processor, prompt_format)
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError, SafetensorError) as err:
        reason = first_line(err)
        raise WeightsError(f"{folder} cannot be loaded as a Janus checkpoint ({reason}): fetch it again.") from err
    _check_parts(folder, model, info["missing_keys"])
    net.to(device)
    return model


def put_lora(model: JanusModel, folder: Path, *, merge: bool) -> None:
    """Generate with an adapter from now on. Raises WeightsError for one that does not fit, MissingExtra without peft.

    merge: add it to the weights, which is as fast as no adapter. In reduced precision rounding would swallow a small
    one: there it stays beside them.
    """
    from fairbench.networks import lora

    adapter = lora.load(model.net, folder)
    if merge:
        model.net = lora.merged(adapter)
    model.net.eval().requires_grad_(False)


def check_format(folder: Path) -> None:
    """Raise WeightsError where a folder holds no Janus checkpoint in transformers format. Reads config.json alone."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise WeightsError(
            f"{folder} has no readable config.json: name a Janus folder in transformers format."
        ) from err
    kind = config.get("model_type")
    if kind == "multi_modality":
        raise WeightsError(
            f"{folder} is a Janus checkpoint in DeepSeek's own format, which needs remote code: use the same model in "
            "transformers format, such as deepseek-community/Janus-Pro-1B instead of deepseek-ai/Janus-Pro-1B."
        )
    if kind != "janus":
        raise WeightsError(f"{folder}/config.json has model_type {kind!r}, not 'janus': name a Janus checkpoint.")
    if not any(folder.glob("*.safetensors")):
        raise WeightsError(
            f"{folder} holds no *.safetensors file, the only format that is loaded: convert the weights."
        )


def _check_parts(folder: Path, model: JanusModel, missing: set[str]) -> None:
    """Refuse what would run and give noise: transformers fills absent weights with random numbers and only warns."""
    if missing:
        raise WeightsError(
            f"{folder} lacks {len(missing)} weights, such as {min(missing)}: fetch the checkpoint again."
        )
    if model.bos is None or model.pad is None:
        raise WeightsError(f"The tokenizer in {folder} lacks a BOS or a padding token: fix tokenizer_config.json.")
    if model.tokens_per_image != model.net.config.vq_config.num_patches**2:
        raise WeightsError(
            f"{folder}/config.json: vision_config.num_image_tokens is {model.tokens_per_image}, but "
            f"(image_size / patch_size)^2 is {model.net.config.vq_config.num_patches**2}: make them equal."
        )
