"""Loading of open_clip models, for the zero-shot classifier and for the scorers. Nothing is looked up by a tag."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import model_validator

from fairbench import weights
from fairbench.config import FileWeights, HubModel
from fairbench.errors import WeightsError
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
    def _fold(cls, given: Any) -> Any:
        # Cards say `repo`, `revision` and `path`; held as one HubModel, they enter keys by commit or content.
        if not isinstance(given, dict) or not given.keys() & _FOLDER:
            return given
        rest = {name: value for name, value in given.items() if name not in _FOLDER}
        return {**rest, "folder": {name: value for name, value in given.items() if name in _FOLDER}}

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
    tokenizer: Callable[[list[str]], Any]
    name: str
    device: str

    @property
    def logit_scale(self) -> float:
        """The learned factor between a cosine similarity and a logit (about 100 in the published models)."""
        return float(self.model.logit_scale.detach().exp())

    def image_features(self, images: Sequence[RgbImage]) -> Any:
        """Return unit-norm embeddings: a float32 tensor (images, D) on the model's device. One forward pass."""
        import torch
        from PIL import Image

        # TF32 would round the patches' convolution to 10 bits.
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            batch = torch.stack([self.preprocess(Image.fromarray(image)) for image in images])
            return self.model.encode_image(batch.to(self.device), normalize=True)

    def text_features(self, texts: Sequence[str]) -> Any:
        """Return unit-norm embeddings: a float32 tensor (texts, D) on the model's device. One forward pass."""
        import torch

        with torch.inference_mode():
            return self.model.encode_text(self.tokenizer(list(texts)).to(self.device), normalize=True)


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
        first = (str(err).strip().splitlines() or [type(err).__name__])[0][:300]
        raise WeightsError(f"{name} cannot be loaded by open_clip ({first}): mend the card or the files.") from err
    return OpenClip(model.eval().requires_grad_(False), preprocess, tokenizer, name, ctx.device)


def _source(params: OpenClipParams, base_dir: Path | None) -> tuple[str, str, str | None]:
    """Return the name to show, open_clip's model string, and the file to load into it where it needs one."""
    if params.folder is not None:
        folder = weights.model_folder(params.folder, base_dir, _FILES)
        if not (folder / "open_clip_config.json").is_file():
            raise WeightsError(f"{folder} has no open_clip_config.json: it is not a folder in open_clip's layout.")
        _report_hub_config(folder)
        repo, revision = params.folder.repo, params.folder.revision
        name = f"{repo}@{(revision or 'unpinned')[:12]}" if repo else folder.name
        return name, f"local-dir:{folder}", None
    assert params.model is not None and params.weights is not None  # the params were validated
    _check_architecture(params.model)
    file = weights.locate(params.weights, base_dir)
    return f"{params.model} ({file.name}, sha256 {weights.sha256(file)[:12]})", params.model, str(file)


def _check_architecture(name: str) -> None:
    import open_clip

    known = open_clip.list_models()
    if name not in known:
        raise WeightsError(f"open_clip knows no architecture {name!r}{suggest(name, known)}.")
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
