"""fairbench: how demographically fair is an image-generating model, and did that debiasing method help?

The labels are perceived presentation in pictures under a benchmark's categories, never anyone's identity.
"""

__version__ = "0.1.0"
