"""Makes tests/golden/keys.json: the keys and run ids of every shipped card, and the fields of every plug-in's Params.

A key that changes orphans stored images and labels, and a run id that changes gives leaderboards a second row: run this
(`python -m tests.golden.make_keys`) only for a change that was decided, and say in CHANGELOG.md which keys changed.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from fairbench import registry
from fairbench.cards import catalog
from fairbench.cards.cards import AttributeSpec, FacePolicy
from fairbench.errors import FairbenchError
from fairbench.labelling.labeller import Labeller
from fairbench.runs import scores, spec
from fairbench.types import BuildContext

PATH = Path(__file__).with_name("keys.json")
SHEN = ("shen2024_gender.pt", "shen2024_race.pt", "shen2024_age.pt")
"""Weights without a published hash: their content enters the key, so that files of known content stand in for them."""
ALONE = "0" * 32
"""Stands for the image key before a labeller's own."""


def stand_ins(folder: Path) -> None:
    """Write files of known content where the weights of shen2024 are looked for."""
    for name in SHEN:
        (folder / name).write_bytes(name.encode())
    os.environ["FAIRBENCH_WEIGHTS_DIR"] = str(folder)


def models() -> dict[str, Any]:
    """Return, for each model card, the image key on a CPU and on CUDA and the run of its defaults with its keys."""
    found = {}
    for name in sorted(catalog.find("models")):
        loaded = catalog.load_model(name)
        adapter, params = spec._adapter(loaded.card, BuildContext(base_dir=loaded.base_dir), loaded.path)
        cuda = BuildContext("cuda", loaded.card.dtype.cuda, loaded.card.block_size, loaded.base_dir)
        made = spec.make(spec.RunSettings(model=name, images_per_prompt=2, limit_prompts=3, device="cpu"))
        found[name] = {
            "image_key": made.image_key,
            "image_key_cuda": spec._image_key(loaded.card, adapter, params, cuda),
            "faces_key": made.faces_key,
            "labels_key": made.labels_key,
            "run_id": made.run_id,
        }
    return found


def demo() -> dict[str, str]:
    """Return the keys of `make demo`."""
    made = spec.make(spec.RunSettings(model="phantom", task="phantom-occupations", images_per_prompt=32, device="cpu"))
    return {
        "image_key": made.image_key,
        "faces_key": made.faces_key,
        "labels_key": made.labels_key,
        "run_id": made.run_id,
    }


def labellers() -> dict[str, Any]:
    """Return the faces and labels key of each labeller on its own."""
    found = {}
    for name in sorted(catalog.find("labellers")):
        labeller = Labeller(catalog.load_labeller(name))
        faces = labeller.faces_key(ALONE)
        found[name] = {"faces_key": faces, "labels_key": labeller.labels_key(faces), "id": labeller.id}
    return found


def scorers() -> dict[str, str]:
    """Return the key of each scorer with its default parameters, and of the phantom's own CLIP."""
    loaded = catalog.load_model("phantom")
    names = [*registry.BUILTIN["scorers"], str(catalog.roots()[0] / "models/scorers/phantom-clip.yaml")]
    bare = catalog.Loaded(loaded.card.model_copy(update={"scorers": {}}), loaded.path)
    found = {}
    for name in names:
        try:
            key = scores.resolve(name, ALONE, bare).key
        except FairbenchError as err:
            key = f"no key: {err}"[:40]
        found[Path(name).name] = str(key)
    return found


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield a model and those that its fields hold."""
    yield model
    for info in model.model_fields.values():
        waiting = [info.annotation]
        while waiting:
            kind = waiting.pop()
            waiting += get_args(kind)
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _models(kind)


def _all() -> dict[str, type[BaseModel]]:
    """Return every model whose fields enter keys, by a name that stays when its file moves."""
    kinds = ("adapters", "detectors", "crops", "classifiers", "scorers")
    roots = {f"{kind}.{n}": registry.resolve(kind, n).Params for kind in kinds for n in registry.BUILTIN[kind]}
    roots |= {"card.attributes": AttributeSpec, "card.face_policy": FacePolicy}
    return {f"{name} {m.__name__}": m for name, root in roots.items() for m in _models(root)}


def model(name: str) -> type[BaseModel]:
    """Return one of the models that `fields` names."""
    return _all()[name]


def fields() -> dict[str, list[str]]:
    """Return the fields whose value always enters a key; one that is added later enters only off its default."""
    return {name: sorted(m.model_fields) for name, m in sorted(_all().items())}


def make() -> dict[str, Any]:
    """Compute everything. FAIRBENCH_WEIGHTS_DIR must hold the stand-ins."""
    return {"models": models(), "demo": demo(), "labellers": labellers(), "scorers": scorers()}


def main() -> None:
    """Write keys.json; the fields of the Params stay as they are there."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    known = json.loads(PATH.read_text()).get("fields") if PATH.exists() else fields()
    with tempfile.TemporaryDirectory() as folder:
        stand_ins(Path(folder))
        PATH.write_text(json.dumps({**make(), "fields": known}, indent=1) + "\n")


if __name__ == "__main__":
    main()
