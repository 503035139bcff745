"""A loaded Janus checkpoint: prompt -> image tokens -> pixels. The loop is ours; every layer is transformers' own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairbench.errors import WeightsError
from fairbench.networks import packed, pretrained
from fairbench.networks.compiled import CompiledStep
from fairbench.networks.sampling import draw, left_padded, padded_length, read
from fairbench.types import RgbImage


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
        self.on_rows: Callable[[Sequence[bool] | None], None] = lambda blank: None
        """Called before rows are drawn, with which of them are unconditional, and with None when they are drawn."""
        self.compiled: CompiledStep | None = None
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

        rows = [(tuple(prompt), False) for prompt in prompts]
        if guidance != 1:
            rows += [(prompt, True) for prompt, _ in rows]
        net, total = self.net, self.tokens_per_image
        with torch.inference_mode(), contextlib.ExitStack() as drawn:
            drawn.callback(self.on_rows, None)
            language_model, head = net.model.language_model, net.model.generation_head
            if self.compiled is None:
                drawn.enter_context(packed.packed(language_model, head, len(rows)))
            hidden, decoder = read(rows, self._prefill, language_model, total, read_once, self.compiled)
            self.on_rows([blank for _, blank in rows])
            return draw(
                hidden,
                decoder,
                seeds,
                total,
                head,
                lambda _, drawn: net.prepare_embeddings_for_image_generation(drawn[:, None]),
                guidance=guidance,
                temperature=temperature,
                on_step=on_step,
            )

    def _prefill(self, rows: Sequence[tuple[tuple[int, ...], bool]]) -> tuple[Any, Any]:
        """Return embeddings (rows, T, hidden) and which positions are text (rows, T), T a multiple of TEXT_MULTIPLE.

        rows: token ids, and whether they are to be blanked; the padding on the left stays masked in both.
        """
        import torch

        self.on_rows([blanked for _, blanked in rows])
        prompts, blank = [row for row, _ in rows], torch.tensor([blanked for _, blanked in rows])
        ids, keep = left_padded(prompts, self.pad, padded_length(max(map(len, prompts))))
        ids, device = torch.where(blank[:, None], self.blanked(ids), ids), self.net.device
        return self.net.get_input_embeddings()(ids.to(device)), keep.to(device)

    def attention(self) -> str:
        """Return what computes attention while tokens are drawn."""
        return packed.attention(self.net.model.language_model, self.net.model.generation_head, self.compiled)

    def row_length(self, prompt: Sequence[int]) -> int:
        """Return the length to which a prompt is padded."""
        return padded_length(len(prompt))

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


def load(folder: Path, device: str, dtype: str, prompt_format: str | None = None) -> JanusModel:
    """Load a checkpoint in transformers format. Raises WeightsError for a folder that is not one."""
    import torch
    from transformers import JanusForConditionalGeneration, JanusProcessor, PreTrainedTokenizerFast

    check_format(folder)
    with pretrained.loading(folder, "Janus"):
        net, info = JanusForConditionalGeneration.from_pretrained(
            folder, dtype=getattr(torch, dtype), use_safetensors=True, local_files_only=True, output_loading_info=True
        )
        processor = JanusProcessor.from_pretrained(folder, local_files_only=True)
        # These checkpoints call their tokenizer a LlamaTokenizer, for which transformers 5 may install a pre-tokenizer
        # of its own that drops every space; this class keeps what tokenizer.json says.
        processor.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        model = JanusModel(net.eval().requires_grad_(False), processor, prompt_format)
    pretrained.check_whole(folder, info["missing_keys"])
    _check_parts(folder, model)
    net.to(device)
    return model


def check_format(folder: Path) -> None:
    """Raise WeightsError where a folder holds no Janus checkpoint in transformers format. Reads config.json alone."""
    instead = "deepseek-community/Janus-Pro-1B instead of deepseek-ai/Janus-Pro-1B"
    pretrained.check_format(folder, "Janus", "janus", {"multi_modality": instead})


def _check_parts(folder: Path, model: JanusModel) -> None:
    """Refuse what would run and give noise."""
    if model.bos is None or model.pad is None:
        raise WeightsError(f"The tokenizer in {folder} lacks a BOS or a padding token: fix tokenizer_config.json.")
    if model.tokens_per_image != model.net.config.vq_config.num_patches**2:
        raise WeightsError(
            f"{folder}/config.json: vision_config.num_image_tokens is {model.tokens_per_image}, but "
            f"(image_size / patch_size)^2 is {model.net.config.vq_config.num_patches**2}: make them equal."
        )
