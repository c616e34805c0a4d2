"""Build the module in pendulum.pyx, here: `python setup.py build_ext --inplace`."""

from Cython.Build import cythonize
from setuptools import Extension, setup

import nnfast

setup(
    name="pendulum",
    ext_modules=cythonize([Extension("pendulum", ["pendulum.pyx"], include_dirs=[nnfast.get_include()])]),
)
