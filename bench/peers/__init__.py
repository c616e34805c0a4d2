"""Who takes part. nnfast comes first: all others are measured by it."""

from __future__ import annotations

from bench.peers.base import Peer
from bench.peers.with_nnfast import NNFast
from bench.peers.with_numpy import NumPy
from bench.peers.with_sklearn import ScikitLearn

PEERS: tuple[type[Peer], ...] = (NNFast, NumPy, ScikitLearn)

__all__ = ["PEERS", "Peer"]
