"""Our dlib path beside the chips that FairFace's own code cut from the five photographs of its repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fairbench.labelling.crops.fairface_chip import FairFaceChip, FairFaceChipParams
from fairbench.labelling.detectors.dlib import DlibDetector, DlibParams
from fairbench.storage import pixels
from fairbench.types import BuildContext, Face

PHOTOS = Path(__file__).parents[2].parent / "shared" / "photos"
CTX = BuildContext()


def stored(face: Face) -> Face:
    """The face as it comes back from a table, whose columns have single precision."""
    box, points = np.float32(face.bbox_xyxy).tolist(), np.float32(face.landmarks5).tolist()
    return Face(tuple(box), face.score, tuple(points))


@pytest.mark.long
def test_chips_lie_where_the_official_ones_do():
    """One face per photograph, whose chip differs from the official JPEG by under 8 grey levels in the mean.

    Measured: 2.3 to 6.7. They are not the same chips: FairFace's repository has another CNN than the wheel, whose boxes
    move the landmarks (.9 to 10.4 grey levels with everything else equal), Pillow decodes JPEGs with 4:2:0 chroma
    otherwise than dlib, and the official chips were saved as JPEG. A chip that lies 4 pixels off differs by more. With
    equal files and pixels, chips are equal: see test_dlib_oracle.py.
    """
    pytest.importorskip("dlib")
    photos = sorted(PHOTOS.glob("*.jpg"))
    if len(photos) != 5:
        pytest.skip("the five FairFace photographs are not in ../shared/photos")
    detector = DlibDetector(DlibParams(model="cnn", upsample=1, max_size=800), CTX)
    crop = FairFaceChip(FairFaceChipParams(), CTX)
    for photo in photos:
        image = pixels.decode(photo.read_bytes(), photo.name)
        (face,) = detector.detect([image])[0]
        chip = crop.cut(image, stored(face))
        official = pixels.decode((PHOTOS / "faces" / f"{photo.stem}_face0.jpg").read_bytes()).astype(float)
        assert np.abs(chip - official).mean() < 8, photo.name
        assert np.array_equal(chip, crop.cut(image, face)), photo.name
        for shift in ((4, 0), (-4, 0), (0, 4), (0, -4)):
            moved = np.roll(chip, shift, axis=(0, 1))
            assert np.abs(moved - official)[8:-8, 8:-8].mean() > np.abs(chip - official)[8:-8, 8:-8].mean(), photo.name
