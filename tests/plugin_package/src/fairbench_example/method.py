"""A method that only rewrites prompts, as one would publish it."""

from collections.abc import Sequence

from fairbench.errors import FairbenchError
from fairbench.methods.common import PromptMethod, stream
from fairbench.protocols import MethodContext, PromptSample


class Politely(PromptMethod):
    """Asks politely; `politely:WORD,WORD` draws one of several words for each sample, all equally likely."""

    version = 1  # raise it whenever the same prompts become other ones: results of two versions do not mix

    def __init__(self, argument: str | None) -> None:
        self._words = (argument or "please").split(",")
        if not all(word.isalpha() for word in self._words):
            raise FairbenchError(f"--method fairbench-example/politely:{argument}: give words, with commas between.")

    def rewrite(self, prompts: Sequence[PromptSample], ctx: MethodContext) -> list[str]:
        """Return each prompt with a word behind it."""
        return [f"{p.prompt.text}, {self._word(p.seed)}" for p in prompts]

    def _word(self, seed: int) -> str:
        # From the sample's own seed: the same word whatever else is in the run, in whatever order.
        return self._words[int(stream(seed, "politely").random() * len(self._words))]
