# What a level module is: every family of kernels, and the table that hands them over.

include "elementary.pxi"
include "activations.pxi"
include "losses.pxi"
include "matmul.pxi"
include "dense.pxi"
include "optimizers.pxi"

from cpython.pycapsule cimport PyCapsule_New

cdef Kernels kernels
kernels.itemsize = sizeof(real)
kernels.vector_width = VW
kernels.apply = kernel_apply
kernels.apply_backward = kernel_apply_backward
kernels.loss = kernel_loss
kernels.count_correct = kernel_count_correct
kernels.matmul = kernel_matmul
kernels.dense = kernel_dense
kernels.dense_backward_input = kernel_dense_backward_input
kernels.dense_backward_weights = kernel_dense_backward_weights
kernels.dense_backward_bias = kernel_dense_backward_bias
kernels.rank_one = kernel_rank_one
kernels.update = kernel_update
kernels.average = kernel_average
kernels.square_sum = kernel_square_sum
kernels.penalty = kernel_penalty
kernels.add_penalty = kernel_add_penalty
kernels.all_finite = kernel_all_finite

table = PyCapsule_New(<void*>&kernels, "nnfast.kernels.table", NULL)
