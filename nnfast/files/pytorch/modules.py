"""What PyTorch's layers lack of nnfast's, as modules. They can be copied, pickled and exported."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Residual(nn.Sequential):
    """The sum of the output of a chain of modules and its input."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the sum."""
        output = input
        for module in self:
            output = module(output)
        return input + output


class Rescaling(nn.Module):
    """``x * scale + offset`` with two fixed numbers."""

    def __init__(self, scale: float, offset: float = 0.0) -> None:
        super().__init__()
        self.scale, self.offset = scale, offset

    def forward(self, input: Tensor) -> Tensor:
        """Return the rescaled input."""
        return input * self.scale + self.offset

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"scale={self.scale}, offset={self.offset}"


class Scale(nn.Module):
    """A learned factor and offset for each feature: ``x * weight + bias``."""

    bias: nn.Parameter | None

    def __init__(self, features: int, bias: bool = True, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features, dtype=dtype))
        self.register_parameter("bias", nn.Parameter(torch.zeros(features, dtype=dtype)) if bias else None)

    def forward(self, input: Tensor) -> Tensor:
        """Return the scaled input."""
        scaled = input * self.weight
        return scaled if self.bias is None else scaled + self.bias

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"{len(self.weight)}, bias={self.bias is not None}"


class FrozenBatchNorm1d(nn.BatchNorm1d):
    """Batch normalization with its running statistics, which do not change, in training too."""

    def train(self, mode: bool = True) -> FrozenBatchNorm1d:
        """Stay in evaluation mode."""
        super().train(False)
        return self


class GaussianNoise(nn.Module):
    """Add numbers from a normal distribution with mean 0 in training, and do nothing outside of it."""

    def __init__(self, stddev: float) -> None:
        super().__init__()
        self.stddev = stddev

    def forward(self, input: Tensor) -> Tensor:
        """Return the input, in training with noise."""
        return input + self.stddev * torch.randn_like(input) if self.training else input

    def extra_repr(self) -> str:
        """Return the argument."""
        return f"{self.stddev}"


class Step(nn.Module):
    """1 above zero, else 0; NaN stays NaN. No gradient passes through it."""

    def forward(self, input: Tensor) -> Tensor:
        """Return zeros and ones."""
        return torch.where(input.isnan(), input, (input > 0).to(input.dtype))
