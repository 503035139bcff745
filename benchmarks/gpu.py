"""One device at a time: equal tokens, images that do not depend on their block, memory, and images per second.

Token models: the adapter, plain and compiled (`run --compile`), against transformers' own `generate`. Diffusion models:
the adapter against a plain loop over the same pipeline, with the same noise. Also a decoder's step with our own cache
against transformers' StaticCache. Contenders take turns in one process; rates are medians of the rounds.
Usage: python benchmarks/gpu.py [--janus FOLDER] [--pipeline FOLDER] [--out FILE]. Without folders the models have
random weights: a Janus of 100 million parameters and a very small Stable Diffusion, which measures calls, not work.
`--device cpu --tiny` shows on any machine that the script works, no more. The result is JSON, with the device's name.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import transformers

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import janus_tokens
from common import alternate, machine, ratio

from fairbench import keys
from fairbench.adapters.diffusers import DiffusersAdapter
from fairbench.adapters.diffusers_noise import cpu_generator
from fairbench.adapters.janus import JanusAdapter
from fairbench.cards.cards import HubModel, ModelCard
from fairbench.networks.sampling import StepDecoder, keyword
from fairbench.types import BuildContext, ImageRequest
from tests.builders.diffusion import save_tiny_sd
from tests.builders.janus import MEDIUM, TINY, save_tiny_janus

Contenders = dict[str, Callable[[], object]]


def requests(count: int) -> list[ImageRequest]:
    """Return requests of several subjects, of unequal lengths, each with its own seed."""
    texts = [f"A photo of the face of a {subject}, a person" for subject in janus_tokens.SUBJECTS]
    made = []
    for i in range(count):
        text = texts[i % len(texts)]
        prompt = keys.prompt_id(text)
        made.append(ImageRequest(keys.image_id("gpu", prompt, prompt, i), prompt, prompt, text, i, 2**40 + i))
    return made


def adapter(kind: Any, folder: Path, params: dict[str, Any], **context: Any) -> Any:
    """Return an adapter of a folder of weights."""
    name = "diffusers" if kind is DiffusersAdapter else "janus"
    card = ModelCard(name="bench", title="Bench", adapter=name, weights=HubModel(path=str(folder)))
    return kind(card, kind.Params.model_validate(params), BuildContext(**context))


def timed(contenders: Contenders, images: int, args: argparse.Namespace) -> dict[str, Any]:
    """Return images per second, peak memory in MiB (None on a processor) and the speed against the last contender."""
    cuda = args.device.startswith("cuda")

    def finished(run: Callable[[], object]) -> Callable[[], None]:
        def whole() -> None:
            run()
            if cuda:
                torch.cuda.synchronize(args.device)

        return whole

    peaks: dict[str, float | None] = dict.fromkeys(contenders)
    for name, run in contenders.items():  # the first call of each loads, compiles and warms up
        finished(run)()
        if cuda:
            torch.cuda.reset_peak_memory_stats(args.device)
            finished(run)()
            peaks[name] = round(torch.cuda.max_memory_allocated(args.device) / 2**20, 1)
    times = alternate({name: finished(run) for name, run in contenders.items()}, args.rounds)
    anchor = [*contenders][-1]
    return {
        name: {
            "images_per_second": round(images / median(times[name]), 4),
            f"speed_against_{anchor}": round(ratio(times, anchor, name), 3),
            "peak_mib": peaks[name],
        }
        for name in contenders
    }


def tokens(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Return what tests ask of tokens: the processor's in float32, and no influence of the block in bfloat16."""
    asked, context = requests(args.images), {"device": args.device, "block_size": args.batch}
    expected = adapter(JanusAdapter, folder, {}, device="cpu").tokens(asked)
    result: dict[str, Any] = {"images": len(asked)}
    for name, compiled in _compiled(args).items():
        drawn = adapter(JanusAdapter, folder, {}, **context, compile=compiled).tokens(asked)
        result[f"{name}_float32_images_equal_to_cpu"] = float((drawn == expected).all(axis=1).mean())
        reduced = adapter(JanusAdapter, folder, {}, **context, compile=compiled, dtype="bfloat16")
        same = np.array_equal(reduced.tokens(asked), reduced.tokens(asked[::-1])[::-1])
        result[f"{name}_bfloat16_independent_of_block"] = same
    return result


def _compiled(args: argparse.Namespace) -> dict[str, bool]:
    return {"plain": False} if args.no_compile else {"plain": False, "compiled": True}


def drawing(folder: Path, args: argparse.Namespace, dtype: str) -> dict[str, Any]:
    """Return the rates of the adapter and of transformers' `generate`, tokens and pixels alike."""
    asked = requests(args.batch)
    context = {"device": args.device, "dtype": dtype, "block_size": args.batch}
    ours = {
        f"fairbench_{name}": adapter(JanusAdapter, folder, {}, **context, compile=compiled)
        for name, compiled in _compiled(args).items()
    }
    contenders: Contenders = {name: partial(made.generate, asked) for name, made in ours.items()}
    model = ours["fairbench_plain"].model

    def generate() -> None:
        drawn = janus_tokens.theirs(model, [request.text for request in asked], 5.0)
        with torch.inference_mode():
            model.net.decode_image_tokens(drawn[:, -model.tokens_per_image :]).float().cpu()

    return timed({**contenders, "transformers": generate}, len(asked), args)


def pipelines(folder: Path, args: argparse.Namespace, dtype: str) -> dict[str, Any]:
    """Return the rates of the adapter and of a plain loop over the same pipeline."""
    asked = requests(args.batch)
    context = {"device": args.device, "dtype": dtype, "block_size": args.batch}
    ours = adapter(DiffusersAdapter, folder, {"steps": args.steps, "guidance": 5.0}, **context)
    pipe = ours._pipe
    rows = 1 if dtype == "float32" else len(asked)

    def loop() -> None:
        for start in range(0, len(asked), rows):
            block = asked[start : start + rows]
            noise = [cpu_generator(request.seed) for request in block]
            pipe([r.text for r in block], num_inference_steps=args.steps, guidance_scale=5.0, generator=noise)

    return timed({"fairbench": lambda: ours.generate(asked), "diffusers": loop}, len(asked), args)


def caches(folder: Path, args: argparse.Namespace, dtype: str) -> dict[str, Any]:
    """Return the milliseconds of a decoder's step in the middle of an image: our own cache and StaticCache."""
    from transformers import StaticCache

    model = adapter(JanusAdapter, folder, {}, device=args.device, dtype=dtype).model
    decoder, rows, text = model.net.model.language_model, 2 * args.batch, 64
    middle, length = text + model.tokens_per_image // 2, text + model.tokens_per_image
    hidden = torch.randn(rows, text, decoder.config.hidden_size, device=args.device, dtype=decoder.dtype)
    own = StepDecoder(decoder, torch.ones(rows, text, dtype=torch.bool, device=args.device), model.tokens_per_image)
    static = StaticCache(config=decoder.config, max_cache_len=length)
    mask = torch.full((rows, 1, 1, length), -torch.inf, device=args.device, dtype=decoder.dtype)
    mask[..., : middle + 1] = 0
    place = torch.tensor([[middle]], device=args.device)
    with torch.inference_mode():
        own(hidden)
        own.mask[..., : middle + 1] = 0

    def ours() -> None:
        with torch.inference_mode():
            own.cache.start = middle
            own(hidden[:, :1])

    def theirs() -> None:
        with torch.inference_mode():
            for layer in static.layers:
                if layer.is_initialized:
                    layer.cumulative_length.fill_(middle)
            decoder(
                inputs_embeds=hidden[:, :1],
                attention_mask=mask,
                position_ids=place,
                use_cache=True,
                **{keyword(decoder): static},
            )

    ours()
    theirs()
    times = alternate({"own": ours, "static": theirs}, 5 * args.rounds)
    steps = {f"{name}_ms": round(1000 * median(seconds), 3) for name, seconds in times.items()}
    return {**steps, "static_against_own": round(ratio(times, "static", "own"), 3), "positions": [middle, length]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the result as JSON, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--janus", type=Path, help="a Janus checkpoint in transformers format")
    parser.add_argument("--pipeline", type=Path, help="a folder of a diffusers pipeline")
    parser.add_argument("--tiny", action="store_true", help="very small models: shows that the script works")
    parser.add_argument("--images", type=int, default=64, help="whose tokens are compared")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20, help="of a diffusion model")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-compile", action="store_true", help="leave compiled steps out")
    parser.add_argument("--out", type=Path, help="write the JSON there as well")
    args = parser.parse_args(arguments)
    cuda = args.device.startswith("cuda")
    if cuda and not torch.cuda.is_available():
        print("skipped: torch finds no CUDA device on this machine (--device cpu --tiny tries the script)")
        return
    with tempfile.TemporaryDirectory() as folder:
        sizes = TINY if args.tiny else MEDIUM
        small, janus = save_tiny_janus(Path(folder, "tiny")), args.janus or save_tiny_janus(Path(folder, "j"), **sizes)
        pipeline = args.pipeline or save_tiny_sd(Path(folder, "sd"))
        reduced = "bfloat16"
        result = {
            "device": torch.cuda.get_device_name(args.device) if cuda else machine(),
            "versions": {
                "torch": torch.__version__,
                "cuda": torch.version.cuda,
                "transformers": transformers.__version__,
            },
            "models": {"janus": str(args.janus or "random"), "pipeline": str(args.pipeline or "random, very small")},
            "tokens": tokens(small, args),
            "token_model": {dtype: drawing(janus, args, dtype) for dtype in ("float32", reduced)},
            "pipeline": {dtype: pipelines(pipeline, args, dtype) for dtype in ("float32", reduced)},
            "cache": {dtype: caches(janus, args, dtype) for dtype in ("float32", reduced)},
        }
    text = json.dumps(result, indent=2)
    print(text)
    if args.out is not None:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
