# The contents of a level module: every family of kernels, and the table that exports them.

include "elementary.pxi"
include "activations.pxi"
include "losses.pxi"
include "metrics.pxi"
include "matmul.pxi"
include "dense.pxi"
include "turned.pxi"
include "optimizers.pxi"
include "sparse.pxi"
include "perceptron.pxi"
include "elementwise.pxi"
include "noise.pxi"
include "norms.pxi"
include "columns.pxi"
include "convert.pxi"

from cpython.pycapsule cimport PyCapsule_New

cdef Kernels kernels
kernels.itemsize = sizeof(real)
kernels.vector_width = VW
kernels.apply = kernel_apply
kernels.apply_keep = kernel_apply_keep
kernels.apply_backward = kernel_apply_backward
kernels.multiply = kernel_multiply
kernels.loss = kernel_loss
kernels.score = kernel_score
kernels.matmul = kernel_matmul
kernels.dense = kernel_dense
kernels.turn = kernel_turn
kernels.turn_back = kernel_turn_back
kernels.dense_turned = kernel_dense_turned
kernels.apply_turned = kernel_apply_turned
kernels.dense_backward_input = kernel_dense_backward_input
kernels.dense_backward_weights = kernel_dense_backward_weights
kernels.dense_backward_bias = kernel_dense_backward_bias
kernels.rank_one = kernel_rank_one
kernels.sparse_dense = kernel_sparse_dense
kernels.sparse_turn = kernel_sparse_turn
kernels.sparse_backward_weights = kernel_sparse_backward_weights
kernels.sparse_descend = kernel_sparse_descend
kernels.perceptron_scores = kernel_perceptron_scores
kernels.perceptron_epoch = kernel_perceptron_epoch
kernels.update = kernel_update
kernels.average = kernel_average
kernels.square_sum = kernel_square_sum
kernels.dot = kernel_dot
kernels.penalty = kernel_penalty
kernels.add_penalty = kernel_add_penalty
kernels.all_finite = kernel_all_finite
kernels.rescale = kernel_rescale
kernels.add = kernel_add
kernels.dropout = kernel_dropout
kernels.gaussian_noise = kernel_gaussian_noise
kernels.layer_norm = kernel_layer_norm
kernels.layer_norm_backward = kernel_layer_norm_backward
kernels.layer_norm_backward_parameters = kernel_layer_norm_backward_parameters
kernels.batch_norm_moments = kernel_batch_norm_moments
kernels.batch_norm = kernel_batch_norm
kernels.batch_norm_sums = kernel_batch_norm_sums
kernels.batch_norm_backward = kernel_batch_norm_backward
kernels.encode = kernel_encode
kernels.encode_backward = kernel_encode_backward
kernels.encode_backward_table = kernel_encode_backward_table
kernels.convert = kernel_convert

table = PyCapsule_New(<void*>&kernels, "nnfast.kernels.table", NULL)
