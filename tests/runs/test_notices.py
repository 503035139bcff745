"""What a run's rows give notice of: equal images, repeated noise, images' own notes, prompts with few faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fairbench import keys
from fairbench.display.progress import Silent
from fairbench.notices import Notices, collecting
from fairbench.runs import images
from fairbench.runs import notices as run_notices
from fairbench.storage import reading
from fairbench.storage.store import Store
from fairbench.types import ImageRequest, ImageResult, Prompt

KEY = "ab" * 16
TEXTS = ("a nurse", "a judge")


class Scripted:
    """Returns the results that it was given, by request."""

    version = 1

    def __init__(self, results: dict[bytes, ImageResult]) -> None:
        self.results = results

    def generate(self, requests: list[ImageRequest]) -> list[ImageResult]:
        return [self.results[r.image_id] for r in requests]


def drawn(value: int, **notes: str) -> ImageResult:
    picture = np.full((8, 8, 3), value, dtype=np.uint8)
    picture[0, 0] = 255 - value
    return ImageResult("ok", picture, notes={k.replace("_", "-"): v for k, v in notes.items()})


def prompt(text: str) -> Prompt:
    pid = keys.prompt_id(text)
    return Prompt(pid, pid, "task", 1, "t", text, text)


def request(text: str, index: int, seed: int, path: str | None = None, sha256: str | None = None) -> ImageRequest:
    pid = keys.prompt_id(text)
    return ImageRequest(keys.digest("image", [text, index, path]), pid, pid, text, index, seed, path, sha256)


def noticed(tmp_path: Path, made: list[tuple[ImageRequest, ImageResult]], times: int = 1) -> Notices:
    """Return the notices of a run whose images are in the store, looked at `times` times in as many processes."""
    store = Store(tmp_path / "store")
    requests = [r for r, _ in made]
    for _ in range(times):
        images.generate(
            store,
            KEY,
            requests,
            Scripted({r.image_id: result for r, result in made}),
            method="none",
            adapter="mine",
            block_size=3,
            fixed_block=False,
            progress=Silent(),
        )
        with collecting() as reported:
            run_notices.report_images(store, KEY, reading.index(store, KEY, requests), [prompt(t) for t in TEXTS])
    return reported


def test_equal_drawn_images_are_counted_within_a_prompt_only(tmp_path: Path) -> None:
    made = [(request("a nurse", i, i), drawn(7 if i < 3 else i)) for i in range(6)]
    made += [(request("a judge", i, i), drawn(7 if i < 1 else 100 + i)) for i in range(3)]
    (one,) = noticed(tmp_path, made)
    assert (one.code, one.count, one.examples, one.strict) == ("equal-images", 2, ("a nurse",), False)


def test_given_copies_count_wherever_they_lie(tmp_path: Path) -> None:
    made = [
        (request("a nurse", 0, 0, "/x/n/1.png", "a" * 64), drawn(1)),
        (request("a nurse", 1, 0, "/x/n/2.png", "b" * 64), drawn(2)),
        (request("a judge", 0, 0, "/x/j/1.png", "a" * 64), drawn(1)),
        (request("a judge", 1, 0, "/x/j/2.png", "a" * 64), drawn(1)),
    ]
    (one,) = noticed(tmp_path, made)
    assert (one.code, one.count, one.strict) == ("copies", 2, True)
    assert one.examples == ("j/1.png = n/1.png, byte by byte", "j/2.png = n/1.png, byte by byte")


def test_given_files_with_other_bytes_but_equal_pixels_are_copies(tmp_path: Path) -> None:
    made = [(request("a nurse", i, 0, f"/x/n/{i}.png", f"{i}" * 64), drawn(1, pixels=str(i // 2))) for i in range(4)]
    (one,) = noticed(tmp_path, made)
    assert (one.code, one.count) == ("copies", 2)


def test_repeated_noise_is_told_within_a_prompt_only(tmp_path: Path) -> None:
    made = [(request("a nurse", i, min(i, 2)), drawn(i)) for i in range(5)]
    made += [(request("a judge", i, i), drawn(i)) for i in range(5)]
    (one,) = noticed(tmp_path, made)
    assert (one.code, one.count, one.examples) == ("seed-repeat", 2, ("a nurse",))


def test_notes_of_images_are_said_again_by_every_later_process(tmp_path: Path) -> None:
    cut = "text_encoder cuts 12 tokens: 'a person'"
    made = [(request("a nurse", i, i), drawn(i, **({"prompt_cut": cut} if i < 4 else {}))) for i in range(6)]
    (one,) = noticed(tmp_path, made, times=2)
    assert (one.code, one.count, one.examples, one.strict) == ("prompt-cut", 4, (cut,), True)
    assert one.text.startswith("4 of 6 images: ")


def test_a_run_without_anything_to_say_says_nothing(tmp_path: Path) -> None:
    assert noticed(tmp_path, [(request(t, i, i), drawn(i)) for t in TEXTS for i in range(4)]) == []


@pytest.mark.parametrize(("faces", "few"), [([8, 9], 0), ([7, 8], 1), ([0, 3], 2)])
def test_prompts_with_few_faces_are_counted(faces: list[int], few: int) -> None:
    class Counted:
        selected = np.array(faces)

    with collecting() as reported:
        run_notices.report_counts(Counted(), [prompt(t) for t in TEXTS])  # type: ignore[arg-type]
    assert [n.count for n in reported] == ([few] if few else [])
