"""Loading of open_clip models, for the zero-shot classifier and for the scorers. Nothing is looked up by a tag."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from fairbench.cards.cards import FileWeights, HubModel
from fairbench.errors import WeightsError
from fairbench.networks import batching, weights
from fairbench.networks.hub import first_line
from fairbench.notices import notice
from fairbench.protocols import Params
from fairbench.registry import suggest
from fairbench.types import BuildContext, RgbImage

_FOLDER = frozenset(HubModel.model_fields)
# The hub's CLIP repositories hold the same weights up to four times: only open_clip's own safetensors are wanted.
_FILES = ("open_clip_*.safetensors", "*.json", "*.txt", "*.model")


class OpenClipParams(Params):
    """Where an open_clip model comes from; exactly one of three.

    `model` with `weights`: an architecture that open_clip knows by name, and one file. `repo` (pinned by `revision`):
    a hub repository in open_clip's layout. `path`: a local folder in that layout, relative to the card
    (open_clip_config.json, weights, and the tokenizer's files where the config names a tokenizer).
    """

    model: str | None = None
    weights: FileWeights | None = None
    folder: HubModel | None = None

    @model_validator(mode="before")
    @classmethod
    def _fold(cls, fields: Any) -> Any:
        # Cards say `repo`, `revision` and `path`; held as one HubModel, they enter keys by commit or content.
        if not isinstance(fields, dict) or not fields.keys() & _FOLDER:
            return fields
        others = {name: value for name, value in fields.items() if name not in _FOLDER}
        return {**others, "folder": {name: value for name, value in fields.items() if name in _FOLDER}}

    @model_validator(mode="after")
    def _one_source(self) -> OpenClipParams:
        if (self.model is None) != (self.weights is None):
            raise ValueError("`model` (an open_clip architecture) and `weights` (its file) belong together")
        if (self.model is None) == (self.folder is None):
            raise ValueError("give one of `model` with `weights`, `repo` (a hub id), or `path` (a folder)")
        return self


@dataclass(frozen=True)
class OpenClip:
    """A loaded model in evaluation mode and float32, with what belongs to it.

    preprocess: PIL image -> float tensor (3, h, w). tokenizer: texts -> int tensor (n, context). name: what was
    loaded, for output beside a value.
    """

    model: Any
    preprocess: Callable[[Any], Any]
    tokenizer: Callable[..., Any]
    name: str
    device: str
    _texts: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def logit_scale(self) -> float:
        """The learned factor between a cosine similarity and a logit (about 100 in the published models)."""
        return float(self.model.logit_scale.detach().exp())

    def image_features(self, images: Sequence[RgbImage], batch_size: int) -> NDArray[np.float32]:
        """Return unit-norm embeddings (images, D), at most `batch_size` images at a time.

        On a CPU an image's embedding does not depend on the images beside it (see batching.py).
        """
        import torch
        from PIL import Image

        parts = [np.zeros((0, self._width()), dtype=np.float32)]
        with torch.inference_mode(), batching.repeatable():
            for batch, rows in batching.batches(images, self.device, batch_size):
                pixels = torch.stack([self.preprocess(Image.fromarray(image)) for image in batch])
                padded = torch.cat([pixels, pixels.new_zeros(rows - len(batch), *pixels.shape[1:])])
                embedded = self.model.encode_image(padded.to(self.device), normalize=True)
                parts.append(embedded[: len(batch)].float().cpu().numpy())
        return np.concatenate(parts)

    def text_features(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit-norm embeddings (texts, D). Each text is embedded by itself, and remembered."""
        rows = [batching.remembered(self._texts, text, self._embed) for text in texts]
        return np.stack(rows) if rows else np.zeros((0, self._width()), np.float32)

    def _embed(self, text: str) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            row = self.model.encode_text(self.tokenizer([text]).to(self.device), normalize=True)
        return np.asarray(row[0].float().cpu().numpy())

    def _width(self) -> int:
        return len(self.text_features([""])[0])

    def cut(self, texts: Sequence[str]) -> list[bool]:
        """Return which texts the tokenizer cuts: it gives more tokens of these where it may."""
        padding = self.tokenizer([""])[0]
        return [self._is_cut(text, len(padding), int(padding[-1])) for text in texts]

    def _is_cut(self, text: str, context: int, padding: int) -> bool:
        # Long enough for any text: no tokenizer gives two tokens per byte.
        enough = max(context, 2 * len(text.encode("utf-8", "surrogatepass")) + 8)
        rows = (self.tokenizer([text], context_length=length)[0].tolist() for length in (context, enough))
        tokens, all_tokens = (np.trim_zeros(np.subtract(row, padding)) for row in rows)  # padding stands at either end
        return not np.array_equal(tokens, all_tokens)


def load(params: OpenClipParams, ctx: BuildContext) -> OpenClip:
    """Load a model. Raises WeightsError where its weights are absent, damaged, or of another architecture.

    Always in float32, whatever `ctx.dtype`: a label or a score must not depend on what the images were generated in.
    """
    import open_clip

    name, source, file = _source(params, ctx.base_dir)
    try:
        model, preprocess = open_clip.create_model_from_pretrained(source, file, device=ctx.device)
        tokenizer = open_clip.get_tokenizer(source)
    except Exception as err:
        reason = first_line(err)
        raise WeightsError(f"{name} cannot be loaded by open_clip ({reason}): fix the card or the files.") from err
    return OpenClip(model.eval().requires_grad_(False), preprocess, tokenizer, name, ctx.device)


def _source(params: OpenClipParams, base_dir: Path | None) -> tuple[str, str, str | None]:
    """Return the name to show, open_clip's model string, and the file to load into it where it needs one."""
    if params.folder is not None:
        folder = weights.model_folder(params.folder, base_dir, _FILES)
        if not (folder / "open_clip_config.json").is_file():
            raise WeightsError(f"{folder} has no open_clip_config.json: it is not a folder in open_clip's layout.")
        _report_hub_config(folder)
        return weights.model_name(params.folder, base_dir), f"local-dir:{folder}", None
    assert params.model is not None and params.weights is not None  # the params were validated
    _check_architecture(params.model)
    file = weights.locate(params.weights, base_dir)
    return f"{params.model} ({file.name}, sha256 {weights.sha256(file)[:12]})", params.model, str(file)


def _check_architecture(name: str) -> None:
    import open_clip

    architectures = open_clip.list_models()
    if name not in architectures:
        raise WeightsError(f"open_clip knows no architecture {name!r}{suggest(name, architectures)}.")
    text = (open_clip.get_model_config(name) or {}).get("text_cfg", {})
    fetched = text.get("hf_tokenizer_name") or text.get("hf_model_name")
    if fetched:
        raise WeightsError(
            f"open_clip takes the tokenizer of {name} from the hub ({fetched}), whatever stands there now, and no hash "
            "covers it: name a repository (`repo`, `revision`) or a folder (`path`) that holds the tokenizer."
        )


def _report_hub_config(folder: Path) -> None:
    """Report a text model whose configuration open_clip reads from the hub. Raises WeightsError for no JSON."""
    path = folder / "open_clip_config.json"
    try:
        text = json.loads(path.read_text(encoding="utf-8"))["model_cfg"].get("text_cfg", {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise WeightsError(f"{path} is no configuration of an open_clip model ({type(err).__name__}).") from err
    if text.get("hf_model_name"):
        notice(
            "unpinned",
            f"The text model of {folder.name} takes its configuration from {text['hf_model_name']} on the hub, as it "
            "stands there now; its weights are the folder's.",
        )
