"""CLIP and SigLIP checkpoints of transformers: images and texts -> embeddings of one space. No remote code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairbench.cards.cards import HubModel
from fairbench.errors import WeightsError
from fairbench.networks import batching, pretrained, weights
from fairbench.types import BuildContext, RgbImage

KINDS: Final = {"clip": "CLIPModel", "siglip": "SiglipModel"}
"""`model_type` of config.json -> the class of transformers."""


@dataclass(frozen=True)
class TwoTowers:
    """A loaded model in evaluation mode and float32, with its image processor and tokenizer.

    context: tokens of a text that the model reads. pads: whether texts are padded to the context, as SigLIP was trained
    (without a mask, so that the padding counts).
    """

    model: Any
    images: Any
    tokenizer: Any
    context: int
    pads: bool
    name: str
    device: str
    _texts: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def logit_scale(self) -> float:
        """The learned factor between a cosine and a logit (about 100 in the published models)."""
        return float(self.model.logit_scale.detach().double().exp())

    def image_features(self, images: Sequence[RgbImage], batch_size: int) -> NDArray[np.float64]:
        """Return unit-norm embeddings (images, D). On a CPU they do not depend on the images beside (batching.py)."""
        import torch
        from PIL import Image

        parts = [np.zeros((0, self.text_features([""]).shape[1]))]
        with torch.inference_mode(), batching.repeatable():
            for batch, rows in batching.batches(images, self.device, batch_size):
                shown = [self.images(images=Image.fromarray(i), return_tensors="pt")["pixel_values"] for i in batch]
                pixels = torch.cat(shown)
                padded = torch.cat([pixels, pixels.new_zeros(rows - len(batch), *pixels.shape[1:])])
                embedded = self.model.get_image_features(pixel_values=padded.to(self.device)).pooler_output
                parts.append(_unit(embedded[: len(batch)]))
        return np.concatenate(parts)

    def text_features(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return unit-norm embeddings (texts, D). Each text is embedded by itself, and remembered."""
        *rows, empty = [batching.remembered(self._texts, text, self._embed) for text in [*texts, ""]]
        return np.array(rows).reshape(len(texts), len(empty))

    def _embed(self, text: str) -> NDArray[np.float64]:
        import torch

        options = {"truncation": True, "max_length": self.context, "return_tensors": "pt"}
        tokens = self.tokenizer([text], padding="max_length" if self.pads else False, **options)["input_ids"]
        with torch.inference_mode():
            row = self.model.get_text_features(input_ids=tokens.to(self.device)).pooler_output
        return np.asarray(_unit(row)[0])

    def cut(self, texts: Sequence[str]) -> list[bool]:
        """Return which texts are longer than the model's context: what stands behind it is not read."""
        return [
            len(self.tokenizer(text, truncation=False, verbose=False)["input_ids"]) > self.context for text in texts
        ]


def _unit(rows: Any) -> NDArray[np.float64]:
    """Return rows (n, D) of norm 1, in double precision, so that sums round alike however many rows there are."""
    embedded = np.asarray(rows.float().cpu().numpy(), dtype=np.float64)
    return np.asarray(embedded / np.linalg.norm(embedded, axis=1, keepdims=True))


def load(model: HubModel, processor: HubModel | None, kind: str, ctx: BuildContext) -> TwoTowers:
    """Load a checkpoint of a `model_type` of KINDS in float32, whatever the images were generated in.

    processor: the folder of image processor and tokenizer, where it is not the model's. Raises WeightsError where files
    are absent, damaged, or of another kind.
    """
    import torch
    import transformers

    folder = weights.model_folder(model, ctx.base_dir)
    pretrained.check_format(folder, KINDS[kind], kind, {})
    of_inputs = folder if processor is None else weights.model_folder(processor, ctx.base_dir)
    local = {"local_files_only": True, "trust_remote_code": False}
    with pretrained.loading(folder, KINDS[kind]):
        net, report = getattr(transformers, KINDS[kind]).from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **local
        )
    pretrained.check_whole(folder, report["missing_keys"])
    with pretrained.loading(of_inputs, "processor"):
        images = transformers.AutoImageProcessor.from_pretrained(of_inputs, **local)
        tokenizer = transformers.AutoTokenizer.from_pretrained(of_inputs, **local)
    context, pads = int(net.config.text_config.max_position_embeddings), kind == "siglip"
    if pads and tokenizer.pad_token is None:
        raise WeightsError(f"{of_inputs} has a tokenizer without a padding token, which SigLIP needs: fetch it again.")
    net = net.eval().requires_grad_(False).to(ctx.device)
    return TwoTowers(net, images, tokenizer, context, pads, weights.model_name(model, ctx.base_dir), ctx.device)
