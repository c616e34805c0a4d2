"""The speed of nnfast compared with its peers: ``python -m bench``, from the root of the repository.

Speed is reported as ratios, measured in turn in one process. A peer that is fast but wrong cannot win: all start from
the same weights, see the same mini-batches, and are compared with each other after the first steps and after the last.

To add a peer, add its file to ``peers`` and list it in ``peers/__init__.py``; to add a workload, list it in
``workloads.py``.
"""
