# A network as a plan: a flat array of stages over arenas, and what runs it. Included by program.pyx.
#
# What a kind of stage can do stands in one file of `stages/`, which ends in a call of `register_kind`: a kind that
# lacks a function does not compile, and one that is not registered cannot be imported.

cpdef enum StageCode:
    DENSE
    ACTIVATION
    RESCALING
    DROPOUT
    GAUSSIAN_NOISE
    BATCH_NORM
    LAYER_NORM
    SCALE
    ADD
    ENCODING

cdef enum:
    MAX_STAGE_KINDS = 64
    MAX_ARRAYS = 2        # that a stage learns
    MAX_NUMBERS = 2       # of a stage's own, such as the rate of dropout

cdef enum Path:
    # How a difference of the loss is computed for one number of an array: its change reaches one output of the stage,
    # times 1, times the stage's input, or times its output before scale and shift. GENERIC reruns the whole stage.
    GENERIC
    ONE_OUTPUT
    ONE_OUTPUT_BY_INPUT
    ONE_OUTPUT_BY_NORMALIZED


cdef struct LearnedArray:
    Py_ssize_t at         # offset in the arenas, in elements; -1 if the stage does not have it
    Py_ssize_t size
    double l1, l2         # penalties
    bint in_sum           # the penalties belong to the sum of the rows' losses, not to their average
    bint decays           # weight decay applies to it even where it spares biases

cdef struct Stage:
    const StageKind* kind
    int function          # the activation
    double alpha          # its parameter
    double numbers[MAX_NUMBERS]  # the stage's own: each kind has a struct with names for them
    bint frozen           # training leaves its parameters as they are
    Py_ssize_t n_in, n_out  # of a flattened sample
    Py_ssize_t ld         # n_out rounded up to whole vectors
    LearnedArray arrays[MAX_ARRAYS]
    Py_ssize_t parts, grain  # of the parameters, which threads share: at least so many each
    Py_ssize_t at         # offset of its output in a workspace, in elements for each row
    Py_ssize_t keep, keep_ld  # what it keeps for the backward pass, in elements for each row; -1 if nothing
    Py_ssize_t columns, n_columns  # vectors with a number for each output, in a workspace: offset in elements, count
    Py_ssize_t statistics  # offset of its running statistics in their arena
    Py_ssize_t scratch    # bytes that it needs for a while, for each thread
    double flops          # for each row, in training
    int slot              # of its output in a tile of `predict`
    int other             # ADD: the stage whose output is added; -1 is the input
    const void* constants  # what does not fit in `numbers`, or NULL: memory that the program keeps
    bint sums_apart       # its gradients over some rows are not added to others before they are complete
    int adds, next_add    # the first ADD that takes this stage's output, and for an ADD the next of the same; 0 if none

cdef struct OwnLoss:
    bint in_python        # of a whole batch; see own.pxi
    void* compiled        # of a row, or NULL
    void* user_data
    bint takes_labels

cdef struct Plan:
    const Kernels* K
    Stage* stages
    int n_stages
    Py_ssize_t z          # bytes of an element
    Py_ssize_t n_in, n_out
    Py_ssize_t n_parameters
    Py_ssize_t width      # of the activations of one row, all stages
    Py_ssize_t keep_width, column_width
    Py_ssize_t scratch    # bytes for each thread, as much as the stage with the largest needs
    Py_ssize_t tile_rows, tile_ld, turned_rows
    int n_slots           # of a tile
    int input_adds        # the first ADD that takes the input
    int first_learned, first_trained  # stages with parameters, and with parameters that are not frozen
    LossSpec loss
    bint from_logits      # the loss is fused with the last activation
    bint over_elements    # the loss is averaged over elements, not rows
    OwnLoss own           # instead of `loss`
    bint penalizes_sum    # there are penalties that belong to the sum of the rows' losses
    double flops_per_row


cdef struct SparseBatch:
    # The stored elements of a mini-batch or tile of sparse rows.
    char* memory
    Py_ssize_t rows, stored  # at most
    char* values
    int32_t* columns
    int64_t* starts       # for each row: see SparseRows
    int64_t* ends
    SparseColumns by_column  # where their gradients are computed

cdef struct Rows:
    # Rows on their way through one stage, outside of training.
    const Plan* plan
    const char* parameters
    const char* statistics
    bint linear           # without the stage's activation
    Py_ssize_t m
    const char* x
    Py_ssize_t ldx
    const SparseRows* sparse  # the input instead of x, or NULL
    const char* other     # what an ADD adds
    Py_ssize_t ldother
    char* out
    Py_ssize_t ldo


cdef struct Workspace:
    Py_ssize_t rows
    int threads
    char* memory
    char* x
    char* a               # activations
    char* g               # gradients of the loss with respect to them
    char* keep
    char* columns
    char* targets
    Py_ssize_t target_bytes  # of a row of targets
    double* weights       # of a shuffled mini-batch
    double* row_loss
    char* scratch         # of all threads
    char* sums            # arenas for gradients over some rows
    int n_sums
    bint inputs           # whether there is room for those of a mini-batch, in `x`
    SparseBatch sparse    # or else in this


cdef struct Scored:
    MetricSpec spec
    bint from_outputs     # also where the loss is computed from what the last activation is applied to
    bint by_row           # else counted

cdef struct Scores:
    int n                 # metrics
    const Scored* metrics
    Py_ssize_t rows       # capacity of `row_scores` for each metric
    double* row_scores    # of a metric after the other
    int64_t* counts       # of a thread after the other: one for each metric


cdef struct Job:
    const Plan* plan
    Workspace* ws
    int work
    char* parameters
    char* gradients
    char* statistics      # running ones, of batch norms
    char* moments[MAX_MOMENTS]
    char* average             # of the parameters, or NULL
    double average_decay
    bint averaged             # it has begun
    double clip_norm
    double* norm_parts        # sums of squares
    bint decays_biases
    Optimizer optimizer       # as it is after so many steps
    int64_t optimizer_steps
    bint training         # with dropout, noise, and the statistics of the batch
    bint lasting          # running statistics and the count of noise are updated
    uint64_t seed         # of dropout and noise
    int64_t noise_steps
    int lowest            # the first stage whose gradient is needed
    int64_t first_update  # the optimizer's steps before the run
    double* rates         # of the updates of the run: read if there is a schedule, else written; or NULL
    const double* momenta  # of a schedule that cycles them, else NULL
    bint scheduled
    bint accumulate
    bint layer_by_layer   # backward and update in one pass
    bint from_logits
    # the data
    const char* x
    const SourceBlocks* source  # where the samples lie if they are not plain, else NULL
    bint sparse               # the first stage computes with sparse rows
    double flops_per_row
    const char* targets
    bint labels
    Py_ssize_t target_bytes  # of a row
    const double* weights  # of rows, or NULL
    Py_ssize_t n, batch
    int64_t* order
    char* gx              # gradient with respect to the input, or NULL
    # the position in the run
    Epoch epoch
    Py_ssize_t position   # the first row of the mini-batch
    int64_t step, until
    double deadline
    double began          # when the first step of a slice was done; 0 before
    int* asked            # whether another thread waits for the end of the step, or NULL
    double next_look      # when to look for Ctrl-C within a step
    bint done
    bint interrupted      # Ctrl-C or another exception has come in the middle of a step, which changes nothing then
    # for a loss in Python
    void* program
    void* given_targets   # the array
    double own_loss       # of the mini-batch
    # the results
    double* step_loss
    double* step_scores   # the totals of each metric
    char* outputs         # of each row of the epoch, or NULL
    Scores scores
    double penalty
    double penalty_share  # of a penalty in the sum of the rows' losses: what its average contains of it
    barrier meeting


cdef struct DifferenceJob
cdef struct Block

# What a kind of stage can do. `s` is the stage's number, `x` the input of the whole batch, `m` the number of rows.
ctypedef int (*fill_type)(Plan*, Stage*, object) except -1
ctypedef void (*infer_type)(const Stage*, const Rows*) noexcept nogil
ctypedef void (*forward_type)(
    const Job*, int id, int s, const char* x, Py_ssize_t first, Py_ssize_t m
) noexcept nogil
ctypedef void (*backward_type)(
    const Job*, int id, int s, const char* x, Py_ssize_t m_all, Py_ssize_t first, Py_ssize_t m, char* to,
    Py_ssize_t ldto
) noexcept nogil
ctypedef void (*gradient_type)(
    Job*, int id, int s, const char* x, Py_ssize_t first, Py_ssize_t m, Py_ssize_t begin, Py_ssize_t end, char* to,
    bint add
) noexcept nogil
ctypedef void (*learn_type)(
    Job*, int work, const Optimizer*, int s, int id, int count, const char* x, Py_ssize_t m
) noexcept nogil
ctypedef bint (*fuses_type)(const Job*, int work, const Stage*, Py_ssize_t m) noexcept nogil
ctypedef void (*fuse_type)(
    Job*, const Optimizer*, int s, const char* x, Py_ssize_t m, char* to, Py_ssize_t ldto
) noexcept nogil
ctypedef void (*prepare_type)(const Job*, int s, int id, int count, const char* x, Py_ssize_t m) noexcept nogil
ctypedef void (*finish_type)(Job*, const Stage*, Py_ssize_t m) noexcept nogil
ctypedef void (*unchanged_type)(
    const Job*, int s, const char* x, Py_ssize_t ldx, Py_ssize_t first, Py_ssize_t m
) noexcept nogil
ctypedef void (*changed_type)(
    const DifferenceJob*, Block*, int s, const char* parameters, const double* x, Py_ssize_t ldx, double* out
) noexcept nogil

cdef struct StageKind:
    const char* name
    bint random               # draws noise in training, and does nothing outside of it
    bint whole_batch          # in training, a row's output depends on all rows
    Path paths[MAX_ARRAYS]    # to differences of the loss
    fill_type fill            # set the stage's numbers, and what it needs: keep_ld, n_columns, scratch, flops
    infer_type infer          # outside of training: nothing is random, and a row does not depend on others
    forward_type forward      # in training: keep what the backward pass needs
    backward_type backward    # from the gradient of the output to that of the input, unless `to` is NULL
    # the gradients of parts `begin` to `end` of the parameters, summed over some rows: written to an arena or, if these
    # are at most MAX_ADDED_TERMS rows and `add` says so, added to the numbers there
    gradient_type gradient
    learn_type learn          # one thread's share of the gradients of the parameters, and of their update
    fuses_type fuses          # whether `fuse` is quicker than the two phases, with the same bits
    fuse_type fuse            # backward, gradients and update on one thread, in a small batch
    prepare_type prepare_forward, prepare_backward  # one thread's share, where a stage needs the whole batch
    finish_type finish        # what a step leaves behind: running statistics
    unchanged_type unchanged  # for differences: where a change of a number enters, before activation or scale and shift
    changed_type changed      # for differences: changed rows, with the noise that the unchanged ones had

cdef StageKind kinds[MAX_STAGE_KINDS]


cdef int register_kind(
        int code, const char* name, size_t numbers, bint random, bint whole_batch, Path first_array, Path second_array,
        fill_type fill, infer_type infer, forward_type forward, backward_type backward,
        gradient_type gradient, learn_type learn, fuses_type fuses, fuse_type fuse, prepare_type prepare_forward,
        prepare_type prepare_backward, finish_type finish, unchanged_type unchanged, changed_type changed
) except -1:
    """Make a kind of stage known. Each function must be given: where it has nothing to do, one that says so.

    `numbers`: the size of the struct that the kind keeps in `Stage.numbers`, 0 if it has none."""
    cdef StageKind* kind = &kinds[code]
    cdef size_t space = sizeof(double)*MAX_NUMBERS
    if numbers > space:
        raise SystemError(f"the stage {name.decode()} has {numbers} bytes of numbers of its own, more than {space}")
    if kind.name != NULL:
        raise SystemError(f"two kinds of stage have the code {code}")
    kind.name, kind.random, kind.whole_batch = name, random, whole_batch
    kind.paths[0], kind.paths[1] = first_array, second_array
    kind.fill, kind.infer, kind.forward, kind.backward = fill, infer, forward, backward
    kind.gradient, kind.learn, kind.fuses, kind.fuse = gradient, learn, fuses, fuse
    kind.prepare_forward, kind.prepare_backward, kind.finish = prepare_forward, prepare_backward, finish
    kind.unchanged, kind.changed = unchanged, changed
    return 0


cdef inline bint is_kind(const Stage* stage, int code) noexcept nogil:
    return stage.kind == &kinds[code]


cdef void free_workspace(Workspace* ws) noexcept nogil:
    free_memory(ws.memory)
    free_memory(ws.scratch)
    free_memory(ws.sums)
    free_memory(ws.sparse.memory)


# ---- where things are

cdef inline Py_ssize_t share(Py_ssize_t n, int id, int count, Py_ssize_t grain) noexcept nogil:
    """Where part `id` of `count` of a range begins, on a multiple of `grain`."""
    return min(n, (n + grain - 1)//grain*id//count*grain)


cdef inline char* activations(const Plan* plan, const Workspace* ws, const Stage* stage, Py_ssize_t row) noexcept nogil:
    return ws.a + (stage.at*ws.rows + row*stage.ld)*plan.z


cdef inline char* gradients(const Plan* plan, const Workspace* ws, const Stage* stage, Py_ssize_t row) noexcept nogil:
    return ws.g + (stage.at*ws.rows + row*stage.ld)*plan.z


cdef inline char* kept(const Job* job, const Stage* stage, Py_ssize_t row) noexcept nogil:
    return job.ws.keep + (stage.keep*job.ws.rows + row*stage.keep_ld)*job.plan.z


cdef inline char* column(const Job* job, const Stage* stage, int which) noexcept nogil:
    return job.ws.columns + (stage.columns + which*stage.ld)*job.plan.z


cdef inline char* scratch_of(const Job* job, int id) noexcept nogil:
    """This thread's `Plan.scratch` bytes."""
    return job.ws.scratch + id*job.plan.scratch


cdef inline const char* array_of(const Plan* plan, const char* arena, const Stage* stage, int array) noexcept nogil:
    """One of the arrays that a stage learns, in an arena of parameters or gradients; NULL if it does not have it."""
    return arena + stage.arrays[array].at*plan.z if stage.arrays[array].at >= 0 else NULL


cdef inline const char* input_of(
        const Job* job, int s, const char* x, Py_ssize_t first, Py_ssize_t* ld
) noexcept nogil:
    """Row `first` of the input of stage `s`; `x` is the input of the batch."""
    cdef const Plan* plan = job.plan
    ld[0] = plan.n_in if s == 0 else plan.stages[s - 1].ld
    return x + first*plan.n_in*plan.z if s == 0 else activations(plan, job.ws, &plan.stages[s - 1], first)


cdef inline void copy_rows(
        const Plan* plan, Py_ssize_t m, Py_ssize_t n, const char* x, Py_ssize_t ldx, char* out, Py_ssize_t ldo
) noexcept nogil:
    plan.K.apply(IDENTITY, 0, m, n, x, ldx, out, ldo)


cdef inline bint is_linear(const Job* job, int s) noexcept nogil:
    """Whether the loss is fused with this stage's activation."""
    return job.from_logits and s == job.plan.n_stages - 1


cdef inline bint from_batch(const Job* job, const Stage* stage) noexcept nogil:
    """Whether a stage needs to see the whole batch. A frozen batch norm uses its running statistics, as in Keras."""
    return stage.kind.whole_batch and job.training and not stage.frozen


cdef inline bint has_arrays(const Stage* stage) noexcept nogil:
    return stage.arrays[0].at >= 0 or stage.arrays[1].at >= 0
