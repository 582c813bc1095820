"""Other people's ways to tell emotion, personality and laughs, to stand beside Social-MAE.

Each is one short file that cites its source and says what is simplified. All take the inputs that
the masked autoencoder takes, audio `(B, T, 128)` and frames `(B, F, 3, H, W)`, either of which may
be None, return `(B, n_outputs)`, and train by `thesislib.learning.training.fit` with `loss_of`. So
what differs between two rows of a table is the model, not the data or the budget.
"""

from thesislib.baselines.auxformer import AuxFormer
from thesislib.baselines.deep_average import DeepAverage
from thesislib.baselines.functionals import FunctionalsLinear, egemaps, mfcc_statistics
from thesislib.baselines.inputs import loss_of
from thesislib.baselines.lstm import SequenceLstm
from thesislib.baselines.resnet_logmel import ResNetLogMel
from thesislib.baselines.uavm import Uavm
from thesislib.baselines.vavl import Vavl

__all__ = [
    "AuxFormer",
    "DeepAverage",
    "FunctionalsLinear",
    "ResNetLogMel",
    "SequenceLstm",
    "Uavm",
    "Vavl",
    "egemaps",
    "loss_of",
    "mfcc_statistics",
]
