"""What `synthesize` is asked for in tests: a small set of a model that is quick and fails often."""

TASK = "phantom-occupations-train"
BASE = ("synthesize", "--model", "small.yaml", "--task", TASK, "--limit-prompts", "2", "--groups", "gender", "-n", "3")
CARD = """
name: small
title: The exact phantom in small blocks, half of it without a head
adapter: phantom-exact
sampling: {image_size: 64, no_head_rate: 0.5}
block_size: 4
labeller: phantom
"""
