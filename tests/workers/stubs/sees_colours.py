"""A recipe that sees which colour fills an image, and picks the option that names it."""

import re


def load(repository, weights, settings, device):
    return Judge()


class Judge:
    def answer(self, question, image, seed):
        red, green, blue = image.resize((1, 1)).getpixel((0, 0))
        seen = max((red, "red"), (green, "green"), (blue, "blue"))[1]
        named = re.search(r"([A-Z])\. " + seen, question)
        return named.group(1) if named else "nothing that I know"

    def generate(self, prompt, seed, width, height):
        from PIL import Image

        return Image.new("RGB", (width, height), prompt.split()[0])
