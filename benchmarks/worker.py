"""A worker against a direct call: milliseconds per image that a process of its own adds.

Both draw the same noise from the seed, 256 pixels a side, and encode it as the store does: the worker by way of its
recipe, its process and a file, the other by calling the same recipe here. The difference is what the worker adds.
Usage: python benchmarks/worker.py [--images 50] [--rounds 5]. Target: at most 10 ms per image.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import yaml
from common import alternate, machine, show_added

from fairbench.adapters.worker import WorkerAdapter
from fairbench.cards import catalog
from fairbench.storage import pixels
from fairbench.types import BuildContext, ImageRequest
from fairbench.workers.params import WorkerParams

TARGET = 10.0
SIDE = 256
RECIPE = """
class Model:
    def generate(self, prompt, seed, width, height):
        import numpy
        from PIL import Image

        return Image.fromarray(numpy.random.RandomState(seed % 2**32).randint(0, 256, (height, width, 3), "uint8"))


def load(repository, weights, settings, device):
    return Model()
"""


def _card(folder: Path) -> Path:
    (folder / "noise.py").write_text(RECIPE, encoding="utf-8")
    sampling = {"recipe": "noise.py", "width": SIDE, "height": SIDE, "python": sys.executable}
    path = folder / "noise.yaml"
    path.write_text(yaml.safe_dump({"name": "noise", "title": "Noise", "adapter": "worker", "sampling": sampling}))
    return path


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50, help="images per round")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    requests = [ImageRequest(b"", b"", b"", "a prompt", i, 2**40 + i) for i in range(args.images)]
    names: dict[str, object] = {}
    exec(RECIPE, names)
    model = names["load"](None, None, None, None)  # type: ignore[operator]
    with tempfile.TemporaryDirectory() as folder:
        loaded = catalog.load_model(str(_card(Path(folder))))
        params = WorkerParams.model_validate(loaded.card.sampling)
        adapter = WorkerAdapter(loaded.card, params, BuildContext(base_dir=Path(folder)))
        adapter.generate(requests[:1])

        def direct() -> None:
            for request in requests:
                pixels.encode(pixels.from_pil(model.generate(request.text, request.seed, SIDE, SIDE)))

        def worker() -> None:
            for result in adapter.generate(requests):
                assert result.pixels is not None
                pixels.encode(result.pixels)

        contenders = {"direct": direct, "worker": worker}
        print(machine())
        alternate(contenders, 1)
        times = alternate(contenders, args.rounds)
        adapter.close()
    show_added(times, "worker", args.images, TARGET)


if __name__ == "__main__":
    main()
