"""The speed of nnfast beside its peers: ``python -m bench``, from the root of the repository.

Speed is told as ratios, measured in turn in one process. A peer that is fast and wrong cannot win: all start from the
same weights, see the same mini-batches, and are held against each other after the first steps and after the last.

To add a peer, write its file in ``peers`` and list it in ``peers/__init__.py``; to add a workload, list it in
``workloads.py``.
"""
