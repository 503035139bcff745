"""The phantom as if it were foreign: its own adapter, in a process of its own, by way of a recipe."""

import sys


def load(repository, weights, settings, device):
    sys.path.insert(0, settings["checkout"])
    from fairbench import registry
    from fairbench.adapters.janus import JanusAdapter
    from fairbench.cards import catalog
    from fairbench.types import BuildContext

    loaded = catalog.load_model("phantom")
    sampling = {"guidance": settings["guidance"], "temperature": settings["temperature"]}
    params = registry.parse_params(JanusAdapter, sampling)
    plain = registry.parse_params(JanusAdapter, {"guidance": 1.0, "temperature": 1.0})
    context = BuildContext(base_dir=loaded.base_dir)
    return Phantom(*(JanusAdapter(loaded.card, each, context) for each in (params, plain)))


class Phantom:
    def __init__(self, adapter, plain):
        self.adapter = adapter
        self.plain = plain

    def request(self, prompt, seed):
        from fairbench.types import ImageRequest

        return ImageRequest(b"", b"", b"", prompt, 0, seed)

    def generate(self, prompt, seed, width, height):
        from PIL import Image

        return Image.fromarray(self.adapter.generate([self.request(prompt, seed)])[0].pixels)

    def tokens(self, prompt, seed, width, height, plain):
        return (self.plain if plain else self.adapter).tokens([self.request(prompt, seed)])[0]

    def encode(self, images):
        import torch

        return torch.from_numpy(self.adapter.encode(self.arrays(images)))  # a recipe may return tensors

    def decode(self, tokens):
        from PIL import Image

        return [Image.fromarray(pixels) for pixels in self.adapter.decode(tokens)]

    def log_probs(self, texts, tokens):
        return self.adapter.log_probs(texts, tokens)

    def embed(self, images):
        return self.adapter.embed(self.arrays(images))

    def answer(self, question, image, seed, temperature, top_p, limit):
        pictures = [None if image is None else self.arrays([image])[0]]
        seeds = None if seed is None else [seed]
        return self.adapter.answer([question], pictures, seeds, temperature=temperature, top_p=top_p, limit=limit)[0]

    def arrays(self, images):
        import numpy

        return [numpy.asarray(image) for image in images]
