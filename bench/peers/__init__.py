"""The peers. nnfast comes first: all others are compared with it."""

from __future__ import annotations

from bench.peers.base import Peer, Predictor, Trainer
from bench.peers.with_jax import JAX, JAXPredictor
from bench.peers.with_nnfast import NNFast, NNFastPredictor, NNFastPredictorInto
from bench.peers.with_numpy import NumPy, NumPyPredictor
from bench.peers.with_onnxruntime import ONNXRuntime
from bench.peers.with_sklearn import ScikitLearn, ScikitLearnPredictor
from bench.peers.with_torch import CompiledPyTorch, PyTorch, PyTorchPredictor

TRAINERS: tuple[type[Trainer], ...] = (NNFast, NumPy, ScikitLearn, PyTorch, CompiledPyTorch, JAX)
PREDICTORS: tuple[type[Predictor], ...] = (
    NNFastPredictor, NNFastPredictorInto, NumPyPredictor, ScikitLearnPredictor, PyTorchPredictor, JAXPredictor,
    ONNXRuntime,
)  # fmt: skip

__all__ = ["PREDICTORS", "TRAINERS", "ONNXRuntime", "Peer", "Predictor", "Trainer"]
