"""How well a colour is seen on another."""

from __future__ import annotations

from collections.abc import Sequence


def luminance(color: Sequence[float]) -> float:
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in color]
    return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: Sequence[float], other: Sequence[float]) -> float:
    """The contrast of two colours as in WCAG 2, from 1 to 21; each is red, green and blue from 0 to 1."""
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)
