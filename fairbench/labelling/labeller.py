"""A labeller, built from its card: routes (detector + crop), classifiers, derived attributes, face policy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from fairbench import contracts, registry
from fairbench.cards import yamlfile
from fairbench.cards.cards import LabellerCard, PluginRef
from fairbench.cards.catalog import Loaded
from fairbench.cards.yamlfile import Loc
from fairbench.errors import CardError, FairbenchError
from fairbench.labelling import faces, judges
from fairbench.labelling.judges import JudgeParams
from fairbench.labelling.parts import Part, faces_key_of, labeller_id_of, labels_key_of
from fairbench.networks import identity
from fairbench.protocols import Crop, FaceClassifier, FaceDetector
from fairbench.types import BuildContext, FoundFace, LabelSchema, RgbImage

IntArray = NDArray[np.int64]
NOT_LABELLED: Final = -1
"""The code of a face without a label: its most probable label is below `min_prob`, or it has no probabilities."""
READ_PIXELS: Final = 16_000_000
"""Pixels of the images that `Labeller.read` passes to the detector at a time."""


class LabelSpace:
    """The labels that a labeller card declares: all that counting needs, without the plug-ins.

    base: the attributes that classifiers give. declared: those and the derived ones.
    """

    def __init__(self, card: LabellerCard) -> None:
        self.card = card
        self.base = LabelSchema({a: tuple(s.labels) for a, s in card.attributes.items() if s.source is None})
        self.declared = LabelSchema({a: tuple(s.labels) for a, s in card.attributes.items()})

    def classes(self, names: Sequence[str]) -> list[str]:
        """Return the classes of an attribute or cross in words, as "female Asian"; the last attribute runs fastest."""
        return [" ".join(labels) for labels in itertools.product(*(self.declared.labels[name] for name in names))]

    def mapping(self, attribute: str) -> IntArray:
        """Return, for each label of a derived attribute's source, (K of the source,), the derived label's index."""
        return np.asarray(self.derivation(attribute).argmax(axis=1))

    def most_probable(self, probs: Mapping[str, NDArray[np.floating[Any]]]) -> dict[str, IntArray]:
        """Return the label (N,) that each declared attribute has, from class probabilities (N, K) of the base ones.

        A derived label is the map of its source's label, so its counts are sums of the source's counts. The class with
        the largest summed probability can be another.
        """
        return self.with_derived({name: np.argmax(probs[name], axis=1) for name in self.base.labels})

    def with_derived(self, codes: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Return the codes (N,) of all declared attributes from those of the base ones; NOT_LABELLED stays that."""
        all_codes = dict(codes)
        for name, spec in self.card.attributes.items():
            if spec.source is not None:
                source = codes[spec.source]
                all_codes[name] = np.where(source == NOT_LABELLED, NOT_LABELLED, self.mapping(name)[source])
        return all_codes

    def admitted(self, prob: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Return which labels of a base attribute have at least the policy's `min_prob`; NaN never has.

        A derived label is as probable as its source's: `min_prob` decides about both at once. In double precision, as
        the card's number is.
        """
        return np.asarray(prob.astype(np.float64) >= self.card.face_policy.min_prob)

    def classes_of(self, names: Sequence[str], codes: Mapping[str, IntArray]) -> IntArray:
        """Return each face's index (N,) among `classes(names)`; NOT_LABELLED where it lacks one of the labels.

        codes: those of the base attributes are enough.
        """
        all_codes = self.with_derived({name: codes[name] for name in self.base.labels})
        columns = np.stack([all_codes[name] for name in names])
        index = np.zeros(columns.shape[1], dtype=np.int64)
        for name, column in zip(names, columns, strict=True):
            index = index * self.declared.size(name) + column
        return np.where((columns == NOT_LABELLED).any(axis=0), NOT_LABELLED, index)

    def derivation(self, attribute: str) -> NDArray[np.int64]:
        """Return the 0/1 matrix (labels of the source, labels of the derived attribute)."""
        spec = self.card.attributes[attribute]
        source: Mapping[str, tuple[str, ...]] = self.base.labels
        assert spec.source is not None
        return np.array([[spec.map[s] == t for t in spec.labels] for s in source[spec.source]], dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """The N faces of some images that count, as a run counts them.

    image: (N,), which image each face is in, in ascending order unless they come from a store. codes: declared
    attribute -> (N,), indices among its labels, or NOT_LABELLED.
    """

    image: IntArray
    codes: dict[str, IntArray]

    def by_image(self, codes: IntArray, images: int) -> IntArray:
        """Return each image's code (images,): that of all its faces (N,); NOT_LABELLED if they differ or are none."""
        lowest, highest = np.full(images, np.iinfo(np.int64).max), np.full(images, NOT_LABELLED)
        np.minimum.at(lowest, self.image, codes)
        np.maximum.at(highest, self.image, codes)
        return np.where(lowest == highest, highest, NOT_LABELLED)


class Labeller(LabelSpace):
    """Finds and labels faces. Making one reads no weights; the parts are built when they are first used."""

    def __init__(self, loaded: Loaded[LabellerCard], device: str = "cpu") -> None:
        super().__init__(loaded.card)
        self._loaded, self._path = loaded, loaded.path
        self._ctx = BuildContext(device=device, base_dir=loaded.base_dir)
        self.routes: list[tuple[Part, Part]] = []
        for i, route in enumerate(self.card.routes):
            detector = self._part("detectors", route.detector, ("routes", i, "detector"))
            crop = self._part("crops", route.crop, ("routes", i, "crop"))
            self.routes.append((detector, crop))
            if detector.ref.type not in getattr(crop.plugin, "detectors", (detector.ref.type,)):
                raise CardError(
                    f"Labeller card {self.card.name}, field routes.{i}.crop: {crop.ref.type} reads the landmarks of "
                    f"{' or '.join(crop.plugin.detectors)}, not those of {detector.ref.type}; change one of the two."
                )
        refs = enumerate(self.card.classifiers)
        self.classifiers = [self._part("classifiers", ref, ("classifiers", i)) for i, ref in refs]

    def on(self, device: str) -> Labeller:
        """Return the same labeller for another device."""
        return Labeller(self._loaded, device)

    def _part(self, kind: str, ref: PluginRef, loc: Loc) -> Part:
        plugin = registry.resolve(kind, ref.type)
        try:
            params = registry.parse_params(plugin, ref.params)
        except ValidationError as err:
            raise yamlfile.params_error(self._path, self.card.name, err, loc) from err
        return Part(kind, ref, plugin, params, (self._ctx, self.base) if kind == "classifiers" else (self._ctx,))

    @property
    def parts(self) -> dict[str, Any]:
        """The parts that enter keys, as plain data: detectors, crops, classifiers, declared attributes."""
        of, base_dir = identity.of_plugin, self._ctx.base_dir
        return {
            "detectors": [of(d.ref.type, d.plugin, d.params, base_dir) for d, _ in self.routes],
            "crops": [of(c.ref.type, c.plugin, c.params, base_dir) for _, c in self.routes],
            "classifiers": [of(c.ref.type, c.plugin, c.params, base_dir) for c in self.classifiers],
            "attributes": {a: identity.of_params(s, None) for a, s in self.card.attributes.items()},
        }

    def faces_key(self, image_key: str) -> str:
        """Return the key of the faces. It covers the detectors alone: new crops or classifiers detect nothing again."""
        return faces_key_of(self.parts, image_key)

    def labels_key(self, faces_key: str) -> str:
        """Return the key of the labels. It covers crops, classifiers and declared attributes, but no face policy."""
        return labels_key_of(self.parts, faces_key)

    @property
    def id(self) -> str:
        """Twelve hex digits that identify everything in the labeller that can change a count."""
        return labeller_id_of(self.parts, self.card)

    def detect(self, images: Sequence[RgbImage]) -> list[list[FoundFace]]:
        """Return the faces of each image, from the first route that finds any."""
        faces: list[list[FoundFace]] = [[] for _ in images]
        for index, (part, _) in enumerate(self.routes):
            faceless = [i for i, of_image in enumerate(faces) if not of_image]
            if not faceless:
                break
            detector: FaceDetector = part.built
            per_image = contracts.detections(part.title, detector.detect([images[i] for i in faceless]), len(faceless))
            for i, of_image in zip(faceless, per_image, strict=True):
                if not all(math.isfinite(edge) for face in of_image for edge in face.bbox_xyxy):
                    raise ValueError(f"detector {part.ref.type} gave a box that is not finite")
                faces[i] = [FoundFace(face, index) for face in of_image]
        return faces

    def cut(self, image: RgbImage, face: FoundFace) -> RgbImage:
        """Return a face's chip, cut with the crop of the route that detected it."""
        part = self.routes[face.route][1]
        crop: Crop = part.built
        with contracts.guard(part.title):
            return contracts.chip(part.title, crop.cut(image, face.face))

    def classify(self, chips: Sequence[RgbImage]) -> dict[str, NDArray[np.float32]]:
        """Return class probabilities (chips, K) of every declared attribute; derived ones are sums.

        A row is NaN where a classifier that may say so gives a chip no label.

        Raises PluginError where a classifier gives something else than probabilities.
        """
        probs: dict[str, NDArray[np.float32]] = {}
        for part in self.classifiers:
            classifier: FaceClassifier = part.built
            with contracts.guard(part.title):
                answer = classifier.classify(chips)
            schema, unclear = classifier.schema.labels, bool(getattr(part.plugin, "unclear", False))
            probs.update(contracts.probabilities(part.title, answer, schema, len(chips), unclear=unclear))
        for name, spec in self.card.attributes.items():
            if spec.source is not None:
                probs[name] = probs[spec.source] @ self.derivation(name).astype(np.float32)
        return probs

    def found(self, images: Sequence[RgbImage], *, one_per_image: bool = False) -> Iterator[tuple[int, FoundFace]]:
        """Yield the faces that count, each with the index of its image, in ascending order."""
        policy = self.card.face_policy.one_per_image() if one_per_image else self.card.face_policy
        for start, stop in _ranges(images):
            rows: faces.Rows = []
            for i, detected in enumerate(self.detect(images[start:stop]), start):
                height, width = images[i].shape[:2]
                rows += faces.image_rows("", i.to_bytes(16), detected, width, height)
            table = faces.table(rows)
            for face in faces.stored_faces(table.filter(faces.counted(table, policy))):
                yield int.from_bytes(face.image_id), face.detected

    def read(self, images: Sequence[RgbImage], *, one_per_image: bool = False) -> Reading:
        """Detect, select, crop and classify the faces of images that are in no store, exactly as a run does.

        one_per_image: where the policy selects all faces, the largest is taken. Raises what detectors and classifiers
        raise.
        """
        image_indices: list[int] = []
        chips: list[RgbImage] = []
        for image, face in self.found(images, one_per_image=one_per_image):
            image_indices.append(image)
            chips.append(self.cut(images[image], face))
        probs = self.classify(chips) if chips else {a: np.zeros((0, self.base.size(a))) for a in self.base.labels}
        codes = self.most_probable(probs)
        for name in self.base.labels:
            codes[name][~self.admitted(probs[name].max(axis=1, initial=0.0))] = NOT_LABELLED
        base = {name: codes[name] for name in self.base.labels}
        return Reading(np.array(image_indices, dtype=np.int64), self.with_derived(base))

    @property
    def judges(self) -> list[JudgeParams]:
        """Who is asked, where classifiers are questions to a model."""
        return [judge for part in self.classifiers for judge in identity.inside(part.params, JudgeParams)]

    @property
    def questions(self) -> list[tuple[JudgeParams, int]]:
        """Who is asked, and how many questions about each face."""
        return [
            (judge, len(getattr(part.params, "questions", self.base.labels)))
            for part in self.classifiers
            for judge in identity.inside(part.params, JudgeParams)
        ]

    @property
    def sends_to(self) -> str | None:
        """The address of a server, not of this machine, that gets to see the images; None where there is none."""
        return next((address for judge in self.judges if (address := judges.sends_to(judge)) is not None), None)

    def refuse_sending(self, images: str, unless: str = "") -> None:
        """Raise FairbenchError where photographs of people may be among `images`, as a sentence names them, and the
        labeller sends what it sees to a server that is not this machine. unless: what else than another labeller helps.
        """
        if self.sends_to is not None:
            raise FairbenchError(
                f"Labeller {self.card.name} sends what it sees to {self.sends_to}, and nobody knows whether {images} "
                "are photographs of people, whose data that would be: use a labeller that runs on this machine"
                f"{unless}."
            )

    def report(self) -> None:
        """Have classifiers give notice of what they could not read."""
        for part in self.classifiers:
            report = getattr(part.built, "report", None)
            if report is not None:
                report()

    def load(self) -> None:
        """Build every part now, so that absent weights are reported before any work. Raises WeightsError, CardError."""
        for detector, crop in self.routes:
            _ = detector.built, crop.built
        attributes = [attribute for part in self.classifiers for attribute in part.built.schema.labels]
        if sorted(attributes) != sorted(self.base.labels):
            raise CardError(
                f"Labeller card {self.card.name}, field classifiers: they give {sorted(attributes)}, but the "
                f"attributes without `from` are {sorted(self.base.labels)}; each must be given exactly once."
            )


def _ranges(images: Sequence[RgbImage]) -> Iterator[tuple[int, int]]:
    """Yield ranges (start, stop) of images that hold at most READ_PIXELS pixels, or one image."""
    start, pixels = 0, 0
    for i, image in enumerate(images):
        size = image.shape[0] * image.shape[1]
        if i > start and pixels + size > READ_PIXELS:
            yield start, i
            start, pixels = i, 0
        pixels += size
    if len(images):
        yield start, len(images)
