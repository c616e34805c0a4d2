"""What PyTorch's layers lack of nnfast's, as modules. They can be copied, pickled and exported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


class ColumnEncoding(nn.Module):
    """The columns of a table, each encoded in its own way; `from_torch` does not read it.

    Parameters
    ----------
    columns : sequence of tuple
        For each column what ``encoding`` returns, a method of the descriptions in `nnfast.columns`.
    dtype : torch.dtype, optional
    """

    weight: nn.Parameter | None

    def __init__(self, columns: Sequence[tuple[Any, ...]], dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.columns = list(columns)
        learned = 0
        for i, (kind, *values) in enumerate(columns):
            if kind == "number":
                self.register_buffer(f"edges{i}", torch.tensor(values[0], dtype=dtype))
            elif kind == "embedding":
                learned += values[0] * values[1]
        self.register_parameter("weight", nn.Parameter(torch.zeros(learned, dtype=dtype)) if learned else None)

    def forward(self, input: Tensor) -> Tensor:
        """Return the encoded columns."""
        encoded, at = [], 0
        for i, (kind, *values) in enumerate(self.columns):
            x = input[:, i : i + 1]
            if kind == "number":
                _, clip, scale = values
                encoded.append(x / torch.sqrt(1 + (x / clip) ** 2))
                edges = getattr(self, f"edges{i}")
                if len(edges):
                    encoded.append(scale * ((x - edges[:-1]) / (edges[1:] - edges[:-1])).clamp(0, 1))
            elif kind == "one_hot":
                ones = (x == torch.arange(values[0], dtype=x.dtype, device=x.device)).to(x.dtype)
                encoded.append(ones if values[0] > 2 else ones[:, 1:] - ones[:, :1])
            elif kind == "embedding":
                n, units = values
                assert self.weight is not None
                encoded.append(_rows(self.weight[at : at + n * units].view(n, units), x))
                at += n * units
            else:
                encoded.append(x)
        return torch.cat(encoded, 1)

    def extra_repr(self) -> str:
        """Return the number of columns."""
        return f"{len(self.columns)} columns"


def _rows(table: Tensor, codes: Tensor) -> Tensor:
    """Return the rows of a table for a column of codes, zeros where there is no such row."""
    known = (codes >= 0) & (codes < len(table)) & (codes == codes.floor())
    places = torch.where(known, codes, 0).to(torch.int64)
    return table[places[:, 0]] * known.to(table.dtype)


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
