"""A recipe whose images are one pixel wider than asked."""


def load(repository, weights, settings, device):
    return Wide()


class Wide:
    def generate(self, prompt, seed, width, height):
        from PIL import Image

        return Image.new("RGB", (width + 1, height))
