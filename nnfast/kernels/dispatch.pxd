from nnfast.kernels.table cimport Kernels

# The table of the level in use; NULL never comes back.
cdef const Kernels* table(bint double_precision) noexcept nogil
