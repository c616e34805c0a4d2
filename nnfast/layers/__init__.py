"""Layers, as descriptions: their shapes, their arrays, and the stages of a program that they become.

The arithmetic is the engine's.
"""

from nnfast.layers.base import Array, Compiler, Layer
from nnfast.layers.columns import ColumnEncoding
from nnfast.layers.dense import Dense
from nnfast.layers.elementwise import Activation, Rescaling
from nnfast.layers.noise import Dropout, GaussianNoise
from nnfast.layers.norms import BatchNorm, LayerNorm
from nnfast.layers.reshaping import Flatten, Reshape
from nnfast.layers.residual import (
    MAX_DEPTH,
    MAX_LAYERS,
    Residual,
    check_layers,
    layers_from,
    output_activation,
    output_shape,
    walk,
    with_trainable,
)
from nnfast.layers.scale import Scale

__all__ = [
    "MAX_DEPTH",
    "MAX_LAYERS",
    "Activation",
    "Array",
    "BatchNorm",
    "ColumnEncoding",
    "Compiler",
    "Dense",
    "Dropout",
    "Flatten",
    "GaussianNoise",
    "Layer",
    "LayerNorm",
    "Rescaling",
    "Reshape",
    "Residual",
    "Scale",
    "check_layers",
    "layers_from",
    "output_activation",
    "output_shape",
    "walk",
    "with_trainable",
]
