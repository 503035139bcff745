"""Image tokens a second: the adapter's loop against transformers' own `generate(generation_mode="image")`.

Both run the same random checkpoint, prompts and guidance, in turns within one process; the best of the rounds counts.
On a CPU the clock is the process's own time on one thread, which other processes cannot stretch; elsewhere it is wall
time. Usage: python benchmarks/janus_tokens.py [--models tiny] [--rounds 1] [--tokens 64]. An image has 576 tokens, as
in Janus-Pro, unless that is shortened, which hides the cost of attention.
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

from fairbench.networks.janus import JanusModel, load
from tests.builders.janus import MEDIUM, TINY, save_tiny_janus

SUBJECTS = ("nurse", "computer programmer", "chef", "police officer", "teacher", "judge", "plumber", "housekeeper")


def theirs(model: JanusModel, prompts: list[str], guidance: float) -> None:
    """Sample with transformers' loop."""
    chats = [[{"role": "user", "content": [{"type": "text", "text": text}]}] for text in prompts]
    texts = model.processor.apply_chat_template(chats, add_generation_prompt=True)
    inputs = model.processor(text=texts, generation_mode="image", return_tensors="pt", padding=True)
    inputs = inputs.to(model.net.device)
    model.net.generate(
        input_ids=inputs.input_ids,
        attention_mask=inputs.attention_mask,
        generation_mode="image",
        do_sample=True,
        guidance_scale=guidance,
    )


def ours(model: JanusModel, prompts: list[str], guidance: float) -> None:
    """Sample with the adapter's loop, its per-image noise included."""
    model.sample([model.prompt_ids(text) for text in prompts], list(range(len(prompts))), guidance)


def seconds(run: Callable[[JanusModel, list[str], float], None], model: JanusModel, batch: int) -> float:
    """Return the time of one batch."""
    prompts = [f"A photo of the face of a {SUBJECTS[i % len(SUBJECTS)]}, a person" for i in range(batch)]
    clock = time.process_time if model.net.device.type == "cpu" else time.perf_counter
    start = clock()
    run(model, prompts, 5.0)
    if model.net.device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


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


def main() -> None:
    """Measure the chosen models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=["tiny", "medium"], default=["tiny", "medium"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=576, help="tokens an image, a square number")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    if math.isqrt(args.tokens) ** 2 != args.tokens:
        parser.error("--tokens must be a square number, such as 64 or 576")
    torch.set_num_threads(1)
    print(f"tokens/s at batch {args.batch}, {args.tokens} tokens an image, {args.device} {args.dtype}")
    print(f"{'parameters':>10} {'transformers':>16} {'fairbench':>10} {'ratio':>9}")
    for name in args.models:
        measure({"tiny": TINY, "medium": MEDIUM}[name], args)


if __name__ == "__main__":
    main()
