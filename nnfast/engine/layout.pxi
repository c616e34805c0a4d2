# From descriptions of stages to a plan: sizes, offsets, and what stages share. Included by program.pyx.

def stage_codes():
    """Return the code of each kind of stage by name; SystemError if the functions of one are not registered."""
    codes = {}
    for code in StageCode:
        if kinds[code].name == NULL:
            raise SystemError(f"the stage {code.name} is not registered: see the end of the files in engine/stages")
        codes[kinds[code].name.decode()] = int(code)
    return codes


cdef int lay_out(
        Plan* plan, stages, list layout, list owners, list statistics_layout, list constants
) except -1:
    """Fill the stages and the offsets; sizes are counted in Python's integers, which do not overflow. The stages refer
    to memory that is appended to `constants`."""
    cdef Stage* stage
    vector = plan.K.vector_width
    offset = width = keep = columns = statistics = 0
    for s, spec in enumerate(stages):
        n_in, n_out = prod(spec["input_shape"]), prod(spec["output_shape"])
        ld = -(-n_out//vector)*vector
        if ld*plan.z % 1024 == 0:  # or a column's elements would all fall into a few sets of the caches
            ld += ALIGNMENT//plan.z
        sizes = [prod(array.shape) for array in spec["arrays"]]
        if (offset + sum(sizes) + 2*n_out)*plan.z > 2**62 or width + ld > 2**40:
            raise MemoryError(f"layer {spec['path']} needs {n_in} x {n_out} weights")
        stage = &plan.stages[s]
        stage.n_in, stage.n_out, stage.ld, stage.at = n_in, n_out, ld, width
        fill_stage(plan, stage, spec, constants)
        for i, array in enumerate(spec["arrays"]):
            layout.append((array.name, array.path, offset, tuple(array.shape)))
            owners.append((s, i))
            in_sum = array.penalty == "sum"
            stage.arrays[i] = LearnedArray(offset, sizes[i], array.l1, array.l2, in_sum, array.decays)
            plan.penalizes_sum |= in_sum and (array.l1 != 0 or array.l2 != 0)
            offset += sizes[i]
        if stage.keep_ld > 0:
            stage.keep = keep
            keep += stage.keep_ld
        stage.columns, stage.statistics = columns, statistics
        columns += stage.n_columns*ld
        for array in spec["statistics"]:
            statistics_layout.append((array.name, array.path, statistics, tuple(array.shape)))
            statistics += prod(array.shape)
        width += ld
        plan.flops_per_row += stage.flops
        plan.scratch = max(plan.scratch, -(-stage.scratch//ALIGNMENT)*ALIGNMENT)
        plan.tile_ld = max(plan.tile_ld, ld)
    plan.n_in, plan.n_out = plan.stages[0].n_in, n_out
    plan.n_parameters = offset
    plan.width, plan.keep_width, plan.column_width = width, keep, columns
    choose_tile(plan)
    find_learning(plan)
    link_adds(plan)
    share_slots(plan)
    return 0


cdef int fill_stage(Plan* plan, Stage* stage, spec, list constants) except -1:
    cdef int i
    stage.kind = &kinds[<int>STAGES[spec["kind"]]]
    stage.function = ACTIVATIONS[spec.get("function", "identity")]
    stage.alpha = spec.get("alpha", 0)
    stage.frozen = spec.get("frozen", False)
    stage.other = spec.get("other", -1)
    stage.keep = -1
    stage.flops = 24.0*stage.n_out
    stage.parts, stage.grain = stage.n_out, COLUMN_GRAIN
    for i in range(MAX_ARRAYS):
        stage.arrays[i] = LearnedArray(-1, 0, 0, 0, False, False)
    if len(spec["arrays"]) > MAX_ARRAYS:
        raise ValueError(f"a stage learns at most {MAX_ARRAYS} arrays, got {len(spec['arrays'])}")
    numbers = spec.get("numbers")
    if "columns" in spec:
        numbers = packed([column.encoding() for column in spec["columns"]], "f8" if plan.z == 8 else "f4")
        constants.append(numbers)
    stage.kind.fill(plan, stage, numbers)
    return 0


cdef void find_learning(Plan* plan) noexcept:
    """The first stages that the backward pass has to reach."""
    cdef int s
    plan.first_learned = plan.first_trained = plan.n_stages
    for s in range(plan.n_stages - 1, -1, -1):
        if has_arrays(&plan.stages[s]):
            plan.first_learned = s
            if not plan.stages[s].frozen:
                plan.first_trained = s


cdef void link_adds(Plan* plan) noexcept:
    """For each output, find the residual sums that it goes into."""
    cdef int* head
    cdef int s
    for s in range(plan.n_stages):
        if is_kind(&plan.stages[s], ADD):
            head = &plan.input_adds if plan.stages[s].other < 0 else &plan.stages[plan.stages[s].other].adds
            plan.stages[s].next_add = head[0]
            head[0] = s


cdef int share_slots(Plan* plan) except -1:
    """Find a slot of a tile for the output of each stage, apart from its input's and those that an add still needs."""
    cdef Stage* stage
    cdef int s
    until = {}  # of outputs that go into an add: the last one
    for s in range(plan.n_stages):
        if is_kind(&plan.stages[s], ADD):
            until[plan.stages[s].other] = s
    waiting = {}
    before = -1
    for s in range(plan.n_stages):
        stage = &plan.stages[s]
        waiting = {slot: end for slot, end in waiting.items() if end >= s}
        # what is random does nothing outside of training
        if stage.kind.random and 0 < s < plan.n_stages - 1 and s - 1 not in until and before not in waiting:
            stage.slot = before
        else:
            stage.slot = next(i for i in range(plan.n_stages) if i != before and i not in waiting)
        if s in until:
            waiting[stage.slot] = until[s]
        before = stage.slot
        plan.n_slots = max(plan.n_slots, stage.slot + 1)
    plan.n_slots = max(plan.n_slots, 2)
    return 0
