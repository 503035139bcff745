"""What a plug-in must offer. Each is a class (a metric: an instance) that the registry finds by its name.

Adapters, detectors, crops, classifiers and scorers have two class attributes:

- `version`, an integer. Raise it whenever the output for the same input changes: stored results are then made again.
- `Params`, a pydantic model of the fields that a card may set. A plug-in without `Params` takes no parameters. Fields
  marked `TRANSPORT` cannot change a number and stay out of keys; fields marked `LATER` were added after a release.

contracts.py checks third-party plug-ins.
"""

from fairbench.protocols.base import Params as Params
from fairbench.protocols.diffusion import Denoising as Denoising
from fairbench.protocols.diffusion import DiffusionTrainable as DiffusionTrainable
from fairbench.protocols.labelling import Crop as Crop
from fairbench.protocols.labelling import DifferentiableClassifier as DifferentiableClassifier
from fairbench.protocols.labelling import DifferentiableCrop as DifferentiableCrop
from fairbench.protocols.labelling import FaceClassifier as FaceClassifier
from fairbench.protocols.labelling import FaceDetector as FaceDetector
from fairbench.protocols.measuring import Metric as Metric
from fairbench.protocols.measuring import MetricSpec as MetricSpec
from fairbench.protocols.measuring import Scorer as Scorer
from fairbench.protocols.measuring import ScorerSpec as ScorerSpec
from fairbench.protocols.methods import Method as Method
from fairbench.protocols.methods import MethodContext as MethodContext
from fairbench.protocols.methods import PromptSample as PromptSample
from fairbench.protocols.methods import TextModel as TextModel
from fairbench.protocols.methods import WrapsModel as WrapsModel
from fairbench.protocols.methods import WritesSystemPrompts as WritesSystemPrompts
from fairbench.protocols.models import CallsPipeline as CallsPipeline
from fairbench.protocols.models import EffectiveSettings as EffectiveSettings
from fairbench.protocols.models import ImageModel as ImageModel
from fairbench.protocols.models import PromptSource as PromptSource
from fairbench.protocols.models import Reachable as Reachable
from fairbench.protocols.models import ReportsProgress as ReportsProgress
from fairbench.protocols.models import SaysWhatIsMissing as SaysWhatIsMissing
from fairbench.protocols.models import Served as Served
from fairbench.protocols.models import TakesSystemPrompts as TakesSystemPrompts
from fairbench.protocols.unified import Distillable as Distillable
from fairbench.protocols.unified import EmbeddingModel as EmbeddingModel
from fairbench.protocols.unified import Steerable as Steerable
from fairbench.protocols.unified import TokenModel as TokenModel
from fairbench.protocols.unified import Trainable as Trainable
from fairbench.protocols.unified import TrainableAnswers as TrainableAnswers
from fairbench.protocols.unified import UnderstandingModel as UnderstandingModel
from fairbench.strict import LATER as LATER
from fairbench.strict import TRANSPORT as TRANSPORT
