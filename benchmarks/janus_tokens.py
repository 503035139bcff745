"""Image tokens a second: the adapter's loop against transformers' own `generate(generation_mode="image")`.

Both run the same random checkpoint, prompts and guidance, in turns within one process; the best of the rounds counts.
On one thread of a CPU the clock is the process's own time, which other processes cannot stretch; elsewhere it is wall
time. Usage: python benchmarks/janus_tokens.py [--models tiny] [--rounds 1] [--tokens 64] [--threads 2] [--profile]. An
image has 576 tokens, as in Janus-Pro, unless that is shortened, which hides the cost of attention. --profile prints
where the time of both goes, by kind of work.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import machine

from fairbench.networks.janus import JanusModel, load
from tests.builders.janus import MEDIUM, TINY, save_tiny_janus

SUBJECTS = ("nurse", "computer programmer", "chef", "police officer", "teacher", "judge", "plumber", "housekeeper")


def theirs(model: JanusModel, prompts: list[str], guidance: float) -> torch.Tensor:
    """Sample with transformers' loop, and return what it returns: image tokens, (images, N)."""
    chats = [[{"role": "user", "content": [{"type": "text", "text": text}]}] for text in prompts]
    texts = model.processor.apply_chat_template(chats, add_generation_prompt=True)
    inputs = model.processor(text=texts, generation_mode="image", return_tensors="pt", padding=True)
    inputs = inputs.to(model.net.device)
    drawn: torch.Tensor = model.net.generate(
        input_ids=inputs.input_ids,
        attention_mask=inputs.attention_mask,
        generation_mode="image",
        do_sample=True,
        guidance_scale=guidance,
    )
    return drawn


def ours(model: JanusModel, prompts: list[str], guidance: float) -> None:
    """Sample with the adapter's loop, its per-image noise included."""
    model.sample([model.prompt_ids(text) for text in prompts], list(range(len(prompts))), guidance)


def seconds(run: Callable[[JanusModel, list[str], float], object], model: JanusModel, batch: int) -> float:
    """Return the time of one batch."""
    prompts = [f"A photo of the face of a {SUBJECTS[i % len(SUBJECTS)]}, a person" for i in range(batch)]
    alone = model.net.device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    start = clock()
    run(model, prompts, 5.0)
    if model.net.device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


KINDS = {
    "weights": ("aten::mm", "aten::addmm", "mkldnn::_linear_pointwise"),
    "attention": ("aten::_scaled_dot_product", "aten::bmm", "aten::_softmax", "aten::_embedding_bag", "aten::repeat"),
    "cache": ("aten::copy_", "aten::cat", "aten::index_copy_"),
}
"""Kinds of work, and how the names of their operations begin; whatever else there is, is "other"."""


def profile(run: Callable[[JanusModel, list[str], float], object], model: JanusModel, batch: int) -> dict[str, float]:
    """Return the processor time of one batch in seconds, by kind of work; the profiler itself costs some."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    with profiled(activities=[ProfilerActivity.CPU]) as observed:
        seconds(run, model, batch)
    spent = dict.fromkeys([*KINDS, "other"], 0.0)
    for event in observed.key_averages():
        kind = next((kind for kind, names in KINDS.items() if event.key.startswith(names)), "other")
        spent[kind] += event.self_cpu_time_total / 1e6
    return spent


def measure(sizes: dict[str, int], args: argparse.Namespace) -> None:
    """Print one line of the table."""
    grid = math.isqrt(args.tokens)
    with tempfile.TemporaryDirectory() as folder:
        save_tiny_janus(Path(folder), **(sizes | {"grid": grid}))
        model = load(Path(folder), args.device, args.dtype)
    millions = sum(p.numel() for p in model.net.parameters()) / 1e6
    times = [(seconds(theirs, model, args.batch), seconds(ours, model, args.batch)) for _ in range(args.rounds)]
    them, us = (min(column) for column in zip(*times, strict=True))
    tokens = args.batch * grid**2
    print(f"{millions:9.1f}M {tokens / them:16.1f} {tokens / us:10.1f} {them / us:8.2f}x", flush=True)
    for name, run in {"transformers": theirs, "fairbench": ours}.items() if args.profile else ():
        spent = profile(run, model, args.batch)
        parts = (f"{kind} {took:.1f} s ({took / sum(spent.values()):.0%})" for kind, took in spent.items())
        print(f"{name:>14}: {', '.join(parts)}", flush=True)


def main() -> None:
    """Measure the chosen models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=["tiny", "medium"], default=["tiny", "medium"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=576, help="tokens an image, a square number")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=1, help="of torch, on a CPU")
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    args = parser.parse_args()
    if math.isqrt(args.tokens) ** 2 != args.tokens:
        parser.error("--tokens must be a square number, such as 64 or 576")
    torch.set_num_threads(args.threads)
    print(f"tokens/s at batch {args.batch}, {args.tokens} tokens an image, {args.device} {args.dtype}, {machine()}")
    print(f"{'parameters':>10} {'transformers':>16} {'fairbench':>10} {'ratio':>9}")
    for name in args.models:
        measure({"tiny": TINY, "medium": MEDIUM}[name], args)


if __name__ == "__main__":
    main()
