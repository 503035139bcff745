"""Our Emu3 against its authors' procedure, step by step, and against transformers' own decoding, on a tiny checkpoint.

The oracle shares no code with ours: whole sequences through the whole network at every step, one image at a time, no
padding, no cache, logits of all words, and the authors' rule of which tokens are admitted where.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Emu3ForConditionalGeneration, Emu3Processor

from fairbench.adapters.emu3 import Emu3Adapter
from fairbench.networks import emu3_tokens
from fairbench.types import ImageRequest
from tests.builders.emu3 import EOF, EOI, EOL, EOS, SIZE, WRAPPER, emu3_adapter

TEXTS = ["A nurse", "A photo of the face of a computer programmer, a person", "A chef"]
SEEDS = [11, 2**62 + 5, 7]
ROWS, COLUMNS = 4, 6
STYLE = {"suffix": " masterpiece, film grained", "negative_prompt": "lowres, bad anatomy, text"}


class Authors:
    """The procedure of the authors' example, with transformers' classes loaded by themselves."""

    def __init__(self, folder: Path) -> None:
        self.net = Emu3ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
        self.processor = Emu3Processor.from_pretrained(folder)
        self.id = self.processor.tokenizer.convert_tokens_to_ids
        book = self.net.config.vq_config.codebook_size
        self.visual = [self.id(f"<|visual token {code:06d}|>") for code in range(book)]

    def admitted(self, offset: int) -> list[int]:
        """Which tokens may stand so many positions behind the token that ends the prefix."""
        end = (COLUMNS + 1) * ROWS
        special = {end + 1: EOF, end + 2: EOI, end + 3: EOS}
        if offset in special:
            return [self.id(special[offset])]
        return [self.id(EOL)] if offset % (COLUMNS + 1) == 0 else self.visual

    def prompt(self, text: str, prefix: bool = True) -> list[int]:
        named: dict[str, Any] = {"return_for_image_generation": True, **SIZE} if prefix else {}
        return list(self.processor(text=[text], **named)["input_ids"][0])

    @torch.no_grad()
    def scores(self, sequence: list[int]) -> torch.Tensor:
        return self.net(input_ids=torch.tensor([sequence])).logits[0, -1].log_softmax(-1)

    def draw(
        self,
        text: str,
        seed: int,
        guidance: float,
        temperature: float,
        top_k: int | None,
        suffix: str = "",
        negative_prompt: str = "",
        mistake: str = "",
    ) -> list[int]:
        """All tokens behind the prefix; `mistake`: one of those that this oracle must be able to tell."""
        noise = np.random.Generator(np.random.PCG64(seed))
        told, untold = self.prompt(text + suffix), self.prompt(negative_prompt, prefix=mistake != "no prefix")
        drawn: list[int] = []
        start = told.index(self.id(WRAPPER))
        assert start == len(told) - 1
        while not drawn or drawn[-1] != self.id(EOS):
            admitted = self.admitted(len(told) + len(drawn) - start)
            if len(admitted) == 1:
                drawn.append(admitted[0])
                continue
            fed = [token for token in drawn if token != self.id(EOL)] if mistake == "no lines" else drawn
            stated = self.scores(told + fed)
            if top_k is not None and mistake == "top-k first":
                stated = self.truncated(stated, admitted, top_k)
            if guidance != 1:
                unstated = self.scores(untold + fed)
                stated = guidance * (stated - unstated) + unstated
            if top_k is not None and mistake != "top-k first":
                stated = self.truncated(stated, admitted, top_k)
            chances = (stated[admitted] / temperature).log_softmax(-1).numpy()
            gumbel = -np.log(noise.standard_exponential(len(admitted)).astype(np.float32))
            drawn.append(admitted[int((chances + gumbel).argmax())])
        return drawn

    @staticmethod
    def truncated(scores: torch.Tensor, admitted: list[int], top_k: int) -> torch.Tensor:
        restricted = torch.full_like(scores, -torch.inf)
        restricted[admitted] = scores[admitted]
        return restricted.masked_fill(restricted < restricted.topk(min(top_k, len(admitted))).values[-1], -torch.inf)

    def codes(self, drawn: list[int]) -> list[int]:
        return [self.visual.index(token) for token in drawn if token in self.visual]


@pytest.fixture(scope="module")
def authors(emu3_card: Path) -> Authors:
    return Authors(emu3_card.parent / "emu3")


@pytest.fixture(scope="module")
def loaded(emu3_card: Path) -> Emu3Adapter:
    adapter = emu3_adapter(emu3_card.parent / "emu3")
    assert adapter.model.tokens_per_image == ROWS * COLUMNS
    return adapter


def ours(loaded: Emu3Adapter, **params: Any) -> Emu3Adapter:
    """The adapter with other settings; only those of the prompt need another reading of the checkpoint's folder."""
    adapter = emu3_adapter(loaded._folder, params)  # type: ignore[arg-type]
    if not params.keys() & {"suffix", "negative_prompt"}:
        adapter._loaded = loaded.model
    return adapter


def requests() -> list[ImageRequest]:
    ids = b"\0" * 16
    return [ImageRequest(ids, ids, ids, text, i, seed) for i, (text, seed) in enumerate(zip(TEXTS, SEEDS, strict=True))]


@pytest.mark.parametrize("text", [*TEXTS, "", "Une infirmière, 护士"])
def test_prompt_ids_are_the_processors(authors: Authors, loaded: Emu3Adapter, text: str) -> None:
    ids = loaded.model.prompt_ids(text)
    assert ids == authors.prompt(text)
    words = f"<|extra_203|>{text}<|image start|>{ROWS}*{COLUMNS}<|image token|>"
    assert loaded.model.processor.tokenizer.decode(ids) == words


@pytest.mark.parametrize(
    "settings",
    [
        {"guidance": 3.0, "temperature": 1.0, "top_k": 2048},
        {"guidance": 3.0, "temperature": 0.7, "top_k": 7, **STYLE},
        {"guidance": 1.0, "temperature": 1.0, "top_k": None},
    ],
)
def test_every_token_and_pixel_is_the_authors(authors: Authors, loaded: Emu3Adapter, settings: dict[str, Any]) -> None:
    """Texts of unequal lengths in one batch of ours, each alone in theirs."""
    adapter = ours(loaded, **settings)
    tokens, images = adapter.tokens(requests()), adapter.generate(requests())
    for text, seed, found, image in zip(TEXTS, SEEDS, tokens, images, strict=True):
        drawn = authors.draw(text, seed, **settings)
        assert len(drawn) == ROWS * (COLUMNS + 1) + 3
        assert found.tolist() == authors.codes(drawn)
        with torch.no_grad():
            values = authors.net.model.decode_image_tokens(torch.tensor([drawn]), height=ROWS, width=COLUMNS)
        expected = np.asarray(authors.processor.postprocess(list(values.float()))["pixel_values"][0])
        assert expected.shape == (8 * ROWS, 8 * COLUMNS, 3)
        np.testing.assert_array_equal(image.pixels, expected)
    assert len({tuple(row) for row in tokens}) == len(TEXTS)


@pytest.mark.parametrize("mistake", ["no prefix", "no lines", "top-k first"])
def test_the_oracle_can_tell_a_mistake(authors: Authors, loaded: Emu3Adapter, mistake: str) -> None:
    settings = {"guidance": 3.0, "temperature": 0.7, "top_k": 7}
    right = ours(loaded, **settings).tokens(requests()[1:2])[0]
    wrong = authors.draw(TEXTS[1], SEEDS[1], **settings, mistake=mistake)
    assert right.tolist() != authors.codes(wrong)


def test_only_the_codes_rows_of_the_head_are_computed(authors: Authors, loaded: Emu3Adapter) -> None:
    from fairbench.networks.emu3 import visual_head

    asked: list[Any] = []
    hook = loaded.model.net.lm_head.register_forward_hook(lambda *_: asked.append(1))
    try:
        loaded.tokens(requests()[:1])
    finally:
        hook.remove()
    assert not asked
    hidden = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        part, whole = visual_head(loaded.model.net, loaded.model.visual)(hidden), authors.net.lm_head(hidden)
    torch.testing.assert_close(part, whole[:, authors.visual], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("positions", [7, 1024])
def test_log_probabilities(
    authors: Authors, loaded: Emu3Adapter, monkeypatch: pytest.MonkeyPatch, positions: int
) -> None:
    """Teacher forcing through the plain network: the sequence with its line ends, softmax over the codes."""
    monkeypatch.setattr(emu3_tokens, "_POSITIONS", positions)
    tokens = np.random.default_rng(0).integers(len(authors.visual), size=(3, ROWS * COLUMNS))
    found = loaded.log_probs(TEXTS, tokens)
    for text, row, values in zip(TEXTS, tokens, found, strict=True):
        sequence, expected = authors.prompt(text), []
        for index, code in enumerate(row):
            if index and index % COLUMNS == 0:
                sequence.append(authors.id(EOL))
            expected.append(float(authors.scores(sequence)[authors.visual].log_softmax(-1)[code]))
            sequence.append(authors.visual[code])
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-4)


def test_each_code_is_the_nearest(authors: Authors, loaded: Emu3Adapter) -> None:
    """Latents of the library's encoder, of images standardised by hand; every distance for itself, in float64."""
    rng, settings = np.random.default_rng(0), authors.processor.image_processor
    fitting = rng.integers(0, 256, (8 * ROWS, 8 * COLUMNS, 3), dtype=np.uint8)
    large = np.asarray(Image.fromarray(rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)).resize((130, 60)))
    # Of 60 x 130 pixels the middle 60 x 90 have the shape of 32 x 48.
    small = np.asarray(Image.fromarray(large[:, 20:110]).resize((8 * COLUMNS, 8 * ROWS), Image.Resampling.BICUBIC))
    found = loaded.encode([fitting, large])
    vq = authors.net.model.vqmodel
    book = vq.quantize.embedding.weight.detach().double().numpy()
    for image, codes in zip((fitting, small), found, strict=True):
        values = (image / 255 - np.array(settings.image_mean)) / np.array(settings.image_std)
        frames = torch.from_numpy(values.transpose(2, 0, 1)).float()[None, None].repeat(1, 4, 1, 1, 1)
        with torch.no_grad():
            latents = vq.quant_conv(vq.encoder(frames).permute(0, 2, 1, 3, 4))[0, :, 0].double().numpy()
        for row in range(ROWS):
            for column in range(COLUMNS):
                distances = [np.linalg.norm(latents[:, row, column] - code) for code in book]
                assert codes[row * COLUMNS + column] == int(np.argmin(distances))
    assert len(np.unique(found)) > 10, "few codes could not tell one grid from another"
    assert settings.image_mean != [0.5] * 3
