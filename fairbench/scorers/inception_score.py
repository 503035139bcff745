"""`inception-score`: exp of the mutual information between image and ImageNet class (Salimans et al. 2016)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from scipy.special import log_softmax, xlogy

from fairbench import protocols
from fairbench.cards.cards import FileWeights
from fairbench.errors import WeightsError
from fairbench.networks import batching, weights
from fairbench.types import BuildContext, RgbImage

TORCHVISION = FileWeights(
    url="https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth",
    sha256="0cc3c7bd75056d25e46cba549dc184522069b81e9787eff6df84f397bd52a5ef",
)
_SIDE = 299
_ROWS_AT_ONCE = 4096


class InceptionScore:
    """How sure the classifier is of each image, and how much the images differ: exp(E KL(p(y|x) || p(y))).

    Range: 1 (all images are classified alike) to min(images, 1000). The estimate grows with the number of images, so
    only scores of equally many images compare.

    The classifier is torchvision's Inception v3, in float32. Its weights are not the TensorFlow graph of 2015 that
    Salimans et al. and FID use, so values differ from published ones: `backbone` names them. As in those, the whole
    image is squashed to 299 x 299 (bilinear, antialiased) and scaled to [-1, 1]; nothing is cropped. That range is
    what torchvision's `transform_input=True` makes of ImageNet-normalised input.
    """

    spec: ClassVar[protocols.ScorerSpec] = protocols.ScorerSpec(
        name="inception-score",
        direction="higher",
        summary="Inception Score: confidence and variety of ImageNet classes",
        values=("inception_score",),
    )
    version: ClassVar[int] = 1

    class Params(protocols.Params):
        """`weights`: a state dict of torchvision's `inception_v3`. `splits`: the score is the mean over so many
        consecutive parts of the images, 10 in Salimans et al.; with 1 it does not depend on their order.
        """

        weights: FileWeights = TORCHVISION
        splits: int = Field(1, ge=1)
        batch_size: int = Field(32, ge=1, json_schema_extra={**protocols.TRANSPORT})

    def __init__(self, params: Params, ctx: BuildContext) -> None:
        """Load the weights. Raises WeightsError where they are absent or of another network."""
        self._params = params
        self._device = ctx.device
        path = weights.locate(params.weights, ctx.base_dir)
        self._net = _load(path).to(ctx.device)
        self._width = int(self._net.fc.out_features)
        self._sha256 = weights.sha256(path)

    @property
    def backbone(self) -> str:
        """Network, file and the first 16 hex digits of its sha256."""
        return f"torchvision inception_v3, {self._params.weights.filename}, sha256 {self._sha256[:16]}"

    def features(self, images: Sequence[RgbImage], prompts: Sequence[str]) -> NDArray[np.float32]:
        """Return the class logits, shape (images, 1000). `prompts` is not used."""
        import torch

        logits = [np.zeros((0, self._width), dtype=np.float32)]
        with torch.inference_mode(), batching.repeatable():
            for batch, rows in batching.batches(images, self._device, self._params.batch_size):
                pixels = np.zeros((rows, _SIDE, _SIDE, 3), dtype=np.uint8)
                pixels[: len(batch)] = [_squash(image) for image in batch]
                planes = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2)
                logits.append(self._net(planes.float() / 127.5 - 1.0)[: len(batch)].cpu().numpy())
        return np.concatenate(logits)

    def summarise(self, features: NDArray[np.float32]) -> dict[str, float | None]:
        """Return the mean score of the parts; None where there are fewer images than parts."""
        n, splits = len(features), self._params.splits
        if n < splits:
            return {"inception_score": None}
        edges = [i * n // splits for i in range(splits + 1)]
        parts = [_score(features[a:b]) for a, b in itertools.pairwise(edges)]
        return {"inception_score": float(np.mean(parts))}


def _load(path: Path) -> Any:
    import torch
    from torchvision.models import inception_v3

    net = inception_v3(weights=None, init_weights=False)
    try:
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as err:  # unpickling, a wrong container, missing or misshapen entries: all mean a wrong file
        raise WeightsError(f"{path} is not a state dict of torchvision's inception_v3: name that file.") from err
    return net.eval()


def _squash(image: RgbImage) -> RgbImage:
    """Return the image resized by Pillow: unlike a tensor's resize it gives the same bytes on every device."""
    return np.asarray(Image.fromarray(image).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))


def _score(logits: NDArray[np.float32]) -> float:
    """Return exp(H(mean of p) - mean of H(p)) = exp(E KL(p || mean of p)), in float64, some rows at a time."""
    marginal = np.zeros(logits.shape[1])
    negative_entropy = 0.0
    for start in range(0, len(logits), _ROWS_AT_ONCE):
        log_p = log_softmax(logits[start : start + _ROWS_AT_ONCE].astype(np.float64), axis=1)
        p = np.exp(log_p)
        marginal += p.sum(axis=0)
        negative_entropy += float((p * log_p).sum())
    marginal /= len(logits)
    return float(np.exp(negative_entropy / len(logits) - xlogy(marginal, marginal).sum()))
