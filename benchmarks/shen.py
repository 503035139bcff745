"""The order of work of Shen et al.'s evaluation script (sail-sg/finetune-fair-diffusion): image after image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.io import read_image
from torchvision.transforms import functional

from fairbench.labelling.crops.square import square


def shen_loop(app: Any, nets: Sequence[Any], files: Sequence[Path]) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield image, chip and each classifier's logits, a file at a time.

    app: a prepared insightface.app.FaceAnalysis. Left out are the script's chips aligned by landmarks and its grids of
    pictures, which no number is made from.
    """
    with torch.no_grad():
        for path in files:
            image = read_image(str(path)).float()[None] / 255 * 2 - 1
            plain = ((image[0] * 0.5 + 0.5) * 255).permute(1, 2, 0).numpy().astype(np.uint8)
            boxes = [face["bbox"] for face in app.get(plain[:, :, [2, 1, 0]])]
            best = max(boxes, key=lambda b: (b[2] - b[0]) * (b[3] - b[1]))
            left, top, right, bottom = square(tuple(best.tolist()), 0.5)
            height, width = plain.shape[:2]
            inside = image[:, :, max(top, 0) : bottom, max(left, 0) : right]
            outside = [max(-left, 0), max(-top, 0), max(right - width, 0), max(bottom - height, 0)]
            padded = functional.pad(inside, outside, fill=-1)
            chip = functional.resize(padded, [224, 224], antialias=False)
            yield (image, chip, *(net(chip) for net in nets))
