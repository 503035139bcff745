"""A recipe whose image tokens are grey levels, so that everything that it offers can be worked out by hand."""


def load(repository, weights, settings, device):
    return Grey()


class Grey:
    def tokens(self, prompt, seed, width, height, plain):
        import numpy

        return numpy.full(width * height, 1 if plain else 2) * (numpy.arange(width * height) % 8) + len(prompt)

    def generate(self, prompt, seed, width, height):
        return self.decode([self.tokens(prompt, seed, width, height, False)])[0]

    def decode(self, tokens):
        import numpy
        from PIL import Image

        return [Image.fromarray(numpy.asarray(row, dtype="uint8").reshape(8, 16)) for row in tokens]

    def encode(self, images):
        import numpy

        return numpy.stack([numpy.asarray(image)[..., 0].reshape(-1) for image in images])

    def log_probs(self, texts, tokens):
        import numpy

        return -tokens / numpy.array([[len(text)] for text in texts])

    def embed(self, images):
        import numpy

        return numpy.stack([numpy.asarray(image).mean(axis=(0, 1)) for image in images])[: len(images) // 2 * 2]

    def answer(self, question, image, seed):
        import random

        return f"{question} {'no image' if image is None else image.size} {seed} {random.random():.6f}"
