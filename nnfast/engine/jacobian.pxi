# Derivatives of the outputs with respect to the input, outside of training: one forward pass, and for each output a
# backward pass from a gradient that is one there and zero elsewhere. Included by program.pyx.

cdef enum:
    JACOBIAN_ROWS = 48    # of a tile: its activations and gradients stay in the cache

cdef struct JacobianJob:
    Job* base             # its workspace has `rows` rows for each thread
    const char* x
    char* out             # of each row a matrix: outputs by inputs
    Py_ssize_t n, rows
    int64_t next


cdef void set_one(const Plan* plan, char* g, Py_ssize_t m, const Stage* last, Py_ssize_t unit) noexcept nogil:
    """Set the gradient of the outputs to one at `unit`, and to zero elsewhere."""
    cdef Py_ssize_t r
    memset(g, 0, m*last.ld*plan.z)
    for r in range(m):
        if plan.z == sizeof(double):
            (<double*>g)[r*last.ld + unit] = 1
        else:
            (<float*>g)[r*last.ld + unit] = 1


cdef void jacobian_of_rows(JacobianJob* job, int id, Py_ssize_t first, Py_ssize_t m) noexcept nogil:
    cdef Job* base = job.base
    cdef const Plan* plan = base.plan
    cdef const Stage* last = &plan.stages[plan.n_stages - 1]
    cdef Py_ssize_t row_bytes = plan.n_in*plan.z, at = id*job.rows, unit, r
    memcpy(base.ws.x + at*row_bytes, job.x + first*row_bytes, <size_t>(m*row_bytes))
    forward_rows(base, id, 0, plan.n_stages, base.ws.x, at, m)
    for unit in range(plan.n_out):
        set_one(plan, gradients(plan, base.ws, last, at), m, last, unit)
        backward_rows(base, id, 0, plan.n_stages, base.ws.x, m, at, m)
        for r in range(m):
            memcpy(
                job.out + ((first + r)*plan.n_out + unit)*row_bytes, base.gx + (at + r)*row_bytes, <size_t>row_bytes
            )
        look_for_signals(id, &base.next_look, &base.interrupted)
        if base.interrupted:
            return


cdef void walk_jacobian(void* argument, int id, int count) noexcept nogil:
    """Take tiles of rows in turn, on one thread."""
    cdef JacobianJob* job = <JacobianJob*>argument
    cdef Py_ssize_t first
    while not job.base.interrupted:
        first = fetch_add(&job.next, 1)*job.rows
        if first >= job.n:
            return
        jacobian_of_rows(job, id, first, min(job.rows, job.n - first))
