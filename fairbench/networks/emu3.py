"""A loaded Emu3 checkpoint: prompt -> image tokens -> pixels. The loop is ours; every layer is transformers' own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairbench.errors import FairbenchError, WeightsError
from fairbench.networks import packed, pretrained
from fairbench.networks.compiled import CompiledStep
from fairbench.networks.sampling import draw, left_padded, padded_length, read
from fairbench.types import RgbImage

FACTOR: Final = 8
"""Pixels per image token, in each direction: fixed in transformers' processor."""
_TOKENS: Final = ("image_token", "boi_token", "eoi_token", "image_wrapper_token", "eof_token")


def grid_of(ratio: str, image_area: int) -> tuple[int, int]:
    """Return rows and columns of image tokens for a ratio WIDTH:HEIGHT and an area in pixels, as the processor does.

    >>> grid_of("1:1", 720 * 720), grid_of("16:9", 720 * 720)
    ((90, 90), (68, 120))
    """
    width, height = map(int, ratio.split(":"))
    scale: float = (image_area / (width * height)) ** 0.5
    return round(height * scale / FACTOR), round(width * scale / FACTOR)


class Emu3Model:
    """One checkpoint on one device, in inference mode. `net` is transformers' Emu3ForConditionalGeneration.

    grid: rows and columns of an image's tokens. suffix: stands behind every prompt. negative_prompt: what guidance
    leads away from; as the authors do it, it carries the image's size like any prompt.
    """

    def __init__(
        self, net: Any, processor: Any, grid: tuple[int, int], suffix: str = "", negative_prompt: str = ""
    ) -> None:
        import torch

        self.net, self.processor, self.suffix = net, processor, suffix
        self.height, self.width = grid
        self.tokens_per_image = self.height * self.width
        self.positions = self.height * (self.width + 1)
        """Of an image's tokens, and of the end of each of its lines."""
        self.image_size = FACTOR * max(grid)
        self.pad: int = processor.tokenizer.pad_token_id
        mapping = net.vocabulary_mapping
        codes: dict[int, int] = mapping.img2bpe
        self.vocabulary = len(codes)
        self.eol: int = mapping.eol_token_id
        self.visual = torch.tensor([codes[code] for code in range(self.vocabulary)], device=net.device)
        """The token id of each code of the image tokenizer."""
        self.negative = self._ids(negative_prompt)
        self.compiled: CompiledStep | None = None

    def prompt_ids(self, text: str) -> list[int]:
        """Return BOS, the text and its suffix, and the prefix of an image: its size in tokens."""
        return self._ids(text + self.suffix)

    def _ids(self, text: str) -> list[int]:
        """Return the token ids. Raises FairbenchError where the model has no positions for them and the image."""
        processor = self.processor
        size = f"{processor.image_start_token}{self.height}*{self.width}{processor.fake_token_around_image}"
        # Not through the processor: whether a tokenizer adds BOS besides differs between library versions.
        whole = f"{processor.bos_token}{text}{size}"
        ids: list[int] = processor.tokenizer(whole, add_special_tokens=False)["input_ids"]
        needed, there = len(ids) + self.positions, self.net.config.text_config.max_position_embeddings
        if needed > there:
            raise FairbenchError(
                f"{len(ids)} tokens of text and an image of {self.height} x {self.width} need {needed} positions; "
                f"the model has {there}: make image_area smaller, or shorten the text that begins {text[:40]!r}."
            )
        return ids

    def row_length(self, prompt: Sequence[int]) -> int:
        """Return the length to which a prompt and the negative prompt are padded, whatever else is in their batch."""
        return padded_length(max(len(prompt), len(self.negative)))

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        guidance: float = 3.0,
        temperature: float = 1.0,
        top_k: int | None = 2048,
        *,
        read_once: bool = False,
        on_step: Callable[[int], None] = lambda step: None,
    ) -> NDArray[np.int64]:
        """Draw the image tokens (codes, row by row) of prompts, (images, tokens_per_image); see `sampling.draw`.

        Between two rows of an image stands an end-of-line token, which is read but not drawn. What follows the last
        row is always the same, so it is neither. At guidance 1 there is no negative row.
        """
        import torch

        with torch.inference_mode():
            rows = [tuple(prompt) for prompt in prompts]
            rows += [tuple(self.negative)] * (len(prompts) if guidance != 1 else 0)
            head, text_model = visual_head(self.net, self.visual), self.net.model.text_model
            settings: dict[str, Any] = {"guidance": guidance, "temperature": temperature, "top_k": top_k}
            with contextlib.ExitStack() as drawn:
                if self.compiled is None:
                    drawn.enter_context(packed.packed(text_model, head, len(rows)))
                hidden, decoder = read(rows, self._prefill, text_model, self.positions, read_once, self.compiled)
                return draw(
                    hidden, decoder, seeds, self.tokens_per_image, head, self._next_embeds, on_step=on_step, **settings
                )

    def attention(self) -> str:
        """Return what computes attention while tokens are drawn."""
        return packed.attention(self.net.model.text_model, visual_head(self.net, self.visual), self.compiled)

    def _prefill(self, rows: Sequence[tuple[int, ...]]) -> tuple[Any, Any]:
        """Return embeddings (rows, T, hidden) and which positions are text (rows, T), T a multiple of 64."""
        ids, keep = left_padded(rows, self.pad, max(map(self.row_length, rows)))
        device = self.net.device
        return self.net.get_input_embeddings()(ids.to(device)), keep.to(device)

    def _next_embeds(self, step: int, drawn: Any) -> Any:
        """Return the embeddings of the tokens drawn, and behind a row's last one that of the end-of-line token."""
        import torch

        ids = self.visual[drawn][:, None]
        if (step + 1) % self.width == 0:
            ids = torch.cat([ids, torch.full_like(ids, self.eol)], dim=1)
        return self.net.get_input_embeddings()(ids)

    def pixels(self, tokens: NDArray[np.int64]) -> RgbImage:
        """Decode one image's tokens (N,). Raises FloatingPointError where the decoder gives NaN or infinity.

        One at a time: the decoder's activations at full resolution would otherwise set the memory need.
        """
        import torch

        with torch.inference_mode():
            codes = torch.from_numpy(tokens.reshape(1, self.height, self.width)).to(self.net.device)
            values = self.net.model.vqmodel.decode(codes).float().cpu().numpy()
        if not np.isfinite(values).all():
            raise FloatingPointError("the image decoder gave pixels that are not finite numbers")
        return np.asarray(self.processor.postprocess(values)["pixel_values"][0], dtype=np.uint8)


def visual_head(net: Any, visual: Any) -> Any:
    """Return a layer from hidden states to logits of the codes alone: one in six of the published heads' rows.

    Guidance and softmax over them equal those over the whole vocabulary, of which only they are admitted: the sum over
    all words is the same number for every code. Raises WeightsError where an adapter changes the head.
    """
    from torch.nn import Linear, Parameter

    if type(net.lm_head) is not Linear:
        raise WeightsError("The LoRA adapter changes lm_head, of which Emu3 here computes a part: leave the head out.")
    weight, ids = net.lm_head.weight, visual.tolist()
    contiguous = ids == list(range(ids[0], ids[0] + len(ids)))
    rows = weight[ids[0] : ids[0] + len(ids)] if contiguous else weight[visual]
    head = Linear(rows.shape[1], rows.shape[0], bias=False, device="meta")
    head.weight = Parameter(rows, requires_grad=False)
    return head


def load(
    folder: Path, device: str, dtype: str, grid: tuple[int, int], suffix: str = "", negative_prompt: str = ""
) -> Emu3Model:
    """Load a checkpoint in transformers format. Raises WeightsError for a folder that is not one.

    The image tokenizer stays in float32, as its authors use it, whatever `dtype` the language model gets.
    """
    import torch
    from transformers import Emu3ForConditionalGeneration, Emu3ImageProcessor, Emu3Processor, PreTrainedTokenizerFast

    check_format(folder)
    with pretrained.loading(folder, "Emu3"):
        net, info = Emu3ForConditionalGeneration.from_pretrained(
            folder, dtype=getattr(torch, dtype), use_safetensors=True, local_files_only=True, output_loading_info=True
        )
        # The checkpoints call their tokenizer a GPT2Tokenizer, which may split words by another rule in transformers 5;
        # this class keeps what tokenizer.json says.
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        images = Emu3ImageProcessor.from_pretrained(folder, local_files_only=True)
        processor = Emu3Processor(images, tokenizer)
        if dtype != "float32":
            net.model.vqmodel.float().load_state_dict(_image_tokenizer(folder))
    pretrained.check_whole(folder, info["missing_keys"])
    _check_parts(folder, net, tokenizer)
    net.eval().requires_grad_(False).to(device)
    return Emu3Model(net, processor, grid, suffix, negative_prompt)


def _image_tokenizer(folder: Path) -> dict[str, Any]:
    """Return the image tokenizer's weights as they are stored; `from_pretrained` has one dtype for all."""
    from safetensors import safe_open

    part, found = "vqmodel.", dict[str, Any]()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            found |= {name.split(part)[1]: file.get_tensor(name) for name in file.keys() if part in name}  # noqa: SIM118
    return found


def check_format(folder: Path) -> None:
    """Raise WeightsError where a folder holds no Emu3 checkpoint in transformers format. Reads config.json alone."""
    instead = "BAAI/Emu3-Gen-hf instead of BAAI/Emu3-Gen"
    pretrained.check_format(folder, "Emu3", "emu3", {"Emu3": instead})


def _check_parts(folder: Path, net: Any, tokenizer: Any) -> None:
    """Refuse what would fail later, or run and give noise."""
    lacking = [name for name in ("bos_token", "pad_token", *_TOKENS) if getattr(tokenizer, name, None) is None]
    if lacking:
        raise WeightsError(f"The tokenizer in {folder} lacks its {lacking[0]}: fix tokenizer_config.json.")
    mapping, size = net.vocabulary_mapping, net.config.vq_config.codebook_size
    if mapping.eol_token_id is None or sorted(mapping.img2bpe) != list(range(size)):
        raise WeightsError(
            f"{folder}/config.json: vocabulary_map does not name the end-of-line token and all {size} image tokens: "
            "fetch the checkpoint again."
        )
    factor = net.model.vqmodel.spatial_scale_factor
    if factor != FACTOR:
        raise WeightsError(
            f"{folder}/config.json: vq_config.channel_multiplier makes {factor} pixels per token, and Emu3 has "
            f"{FACTOR}: fetch the checkpoint again."
        )
