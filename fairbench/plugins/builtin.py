"""The table of built-in plug-ins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

BUILTIN: Final[Mapping[str, Mapping[str, str]]] = {
    "adapters": {
        "janus": "fairbench.adapters.janus:JanusAdapter",
        "emu3": "fairbench.adapters.emu3:Emu3Adapter",
        "diffusers": "fairbench.adapters.diffusers:DiffusersAdapter",
        "worker": "fairbench.adapters.worker:WorkerAdapter",
        "endpoint": "fairbench.adapters.endpoint.adapter:EndpointAdapter",
        "folder": "fairbench.adapters.folder:FolderAdapter",
        "callable": "fairbench.adapters.callable:CallableAdapter",
        "labels-only": "fairbench.adapters.labels_only:LabelsOnly",
        "phantom-exact": "fairbench.phantom.exact:PhantomExactAdapter",
    },
    "detectors": {
        "insightface": "fairbench.labelling.detectors.insightface:InsightFaceDetector",
        "dlib": "fairbench.labelling.detectors.dlib:DlibDetector",
        "whole-image": "fairbench.labelling.detectors.whole_image:WholeImage",
        "phantom": "fairbench.phantom.detector:PhantomDetector",
    },
    "crops": {
        "square": "fairbench.labelling.crops.square:SquareCrop",
        "fairface-chip": "fairbench.labelling.crops.fairface_chip:FairFaceChip",
        "box": "fairbench.labelling.crops.box:BoxCrop",
    },
    "classifiers": {
        "onnx": "fairbench.labelling.classifiers.onnx:OnnxClassifier",
        "torchvision": "fairbench.labelling.classifiers.torchvision:TorchvisionClassifier",
        "confused": "fairbench.labelling.classifiers.confused:ConfusedClassifier",
        "clip-zeroshot": "fairbench.labelling.classifiers.clip_zeroshot:ClipZeroShotClassifier",
        "vqa": "fairbench.labelling.classifiers.vqa:VqaClassifier",
        "nearest-render": "fairbench.phantom.nearest:NearestRenderClassifier",
    },
    "scorers": {
        "clip-score": "fairbench.scorers.clip_score:ClipScore",
        "clip-iqa": "fairbench.scorers.clip_iqa:ClipIqa",
        "inception-score": "fairbench.scorers.inception_score:InceptionScore",
        "siglip-score": "fairbench.scorers.two_towers:SiglipScore",
        "vqa-score": "fairbench.scorers.vqa_score:VqaScore",
        "clip-variety": "fairbench.scorers.variety:ClipVariety",
        "inception-variety": "fairbench.scorers.variety:InceptionVariety",
        "pickscore": "fairbench.scorers.two_towers:PickScore",
    },
    "methods": {
        "none": "fairbench.methods.suffixes:NoMethod",
        "any-gender-suffix": "fairbench.methods.suffixes:AnyGenderSuffix",
        "any-race-suffix": "fairbench.methods.suffixes:AnyRaceSuffix",
        "any-mix-suffix": "fairbench.methods.suffixes:AnyMixSuffix",
        "balanced-prompting": "fairbench.methods.balanced_prompting:BalancedPrompting",
        "ethical-intervention": "fairbench.methods.suffixes:EthicalIntervention",
        "chain-of-thought": "fairbench.methods.chain_of_thought:ChainOfThought",
        "verbalized-sampling": "fairbench.methods.verbalized_sampling:VerbalizedSampling",
        "fair-cot": "fairbench.methods.fair_cot:FairCot",
        "fair-diffusion": "fairbench.methods.fair_diffusion:FairDiffusion",
        "fairimagen": "fairbench.methods.fairimagen:FairImagen",
        "fairpro": "fairbench.methods.fairpro:FairPro",
        "lora": "fairbench.methods.lora:LoraMethod",
        "steering": "fairbench.methods.steering:Steering",
    },
    "metrics": {
        "rd": "fairbench.metrics._rd:rd",
        "rd-normalised": "fairbench.metrics._rd_normalised:rd_normalised",
        "entropy": "fairbench.metrics._entropy:entropy",
        "kl-uniform": "fairbench.metrics._kl_uniform:kl_uniform",
        "js-uniform": "fairbench.metrics._js_uniform:js_uniform",
        "tv-uniform": "fairbench.metrics._tv_uniform:tv_uniform",
        "tv-score": "fairbench.metrics._tv_score:tv_score",
        "spd": "fairbench.metrics._spd:spd",
        "mmdt-gap": "fairbench.metrics._mmdt_gap:mmdt_gap",
        "mad": "fairbench.metrics._mad:mad",
        "l2-softmax": "fairbench.metrics._l2_softmax:l2_softmax",
        "majority-share": "fairbench.metrics._majority_share:majority_share",
        "distance-to-reference": "fairbench.metrics._distance_to_reference:distance_to_reference",
        "attribute-following": "fairbench.metrics._attribute_following:attribute_following",
        "no-face-rate": "fairbench.metrics._no_face_rate:no_face_rate",
    },
}
"""kind -> name -> "module:attribute"."""
