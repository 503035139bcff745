"""A method, in one file: `fairbench run --plugins say_please.py --method say-please:kindly`."""

import fairbench


@fairbench.register("methods", "say-please")
class SayPlease:
    """Adds a word behind every prompt, the one after the colon of --method, else "please"."""

    version = 1  # raise it whenever the same prompts become other ones

    def __init__(self, argument):
        self.word = argument or "please"

    def adapt(self, card):
        return card  # the model stays as it is

    def rewrite(self, prompts, ctx):
        return [f"{p.prompt.text}, {self.word}" for p in prompts]  # one text per sample, in order
