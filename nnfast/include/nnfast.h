/* nnfast from compiled code: a network that predicts one sample at a time, without Python and from any number of threads.
 *
 * `predictor = net.predictor()` makes a copy of what a network predicts. This header declares the C struct in it, which
 * `predictor.capsule` holds under the name NNFAST_CAPSULE, and whose address is `predictor.address`; its folder is
 * `nnfast.get_include()`. There is nothing to link with. The struct is valid as long as the predictor or one of its
 * capsules is referenced, and nothing in it ever changes.
 *
 * C99 and C++. Include Python.h before this header for the functions that take Python objects. */
#ifndef NNFAST_H
#define NNFAST_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NNFAST_CAPSULE "nnfast.predictor"

enum {
    NNFAST_ABI_VERSION = 1 /* of the struct: changes when code compiled before it could not use it; fields may be
                              added at its end before that */
};

enum { /* types of numbers */
    NNFAST_FLOAT32 = 1, /* float */
    NNFAST_FLOAT64 = 2  /* double */
};

enum { /* what a prediction returns */
    NNFAST_OK = 0,
    NNFAST_NO_MEMORY = 1,
    NNFAST_BAD_POINTER = 2, /* x or y is NULL, or not aligned as its type requires */
    NNFAST_OVERLAP = 3      /* x and y share memory */
};

typedef struct nnfast_predictor nnfast_predictor;

struct nnfast_predictor {
    uint32_t abi_version; /* NNFAST_ABI_VERSION of the nnfast that created it */
    uint32_t struct_size; /* bytes of this struct there */
    int32_t dtype;        /* of x and y: NNFAST_FLOAT32 or NNFAST_FLOAT64 */
    int32_t reserved;
    int64_t n_inputs;  /* numbers of a sample, next to each other in C order */
    int64_t n_outputs; /* numbers of its output */
    /* Write the output for the sample x to y; on an error, which the status tells, y is unchanged. It takes no lock, and
     * allocates no memory unless the outputs of two layers take more than 32 KB. It needs up to 400 KB of stack. */
    int (*predict_one)(const nnfast_predictor *self, const void *x, void *y);
};

static inline int nnfast_predict_one(const nnfast_predictor *self, const void *x, void *y) {
    return self->predict_one(self, x, y);
}

static inline const char *nnfast_status_message(int status) {
    switch (status) {
    case NNFAST_OK: return "no error";
    case NNFAST_NO_MEMORY: return "no memory for the outputs of the layers";
    case NNFAST_BAD_POINTER: return "x or y is NULL, or not aligned as its type requires";
    case NNFAST_OVERLAP: return "x and y overlap";
    default: return "unknown status";
    }
}

#ifdef Py_PYTHON_H

/* Return the struct of a Predictor or of its capsule, to which the caller keeps a reference; on an error, set a TypeError
 * or ValueError and return NULL. */
static inline const nnfast_predictor *nnfast_predictor_of(PyObject *object) {
    const nnfast_predictor *predictor = NULL;
    PyObject *capsule = object;
    if (PyCapsule_CheckExact(object))
        Py_INCREF(capsule);
    else
        capsule = PyObject_GetAttrString(object, "capsule");
    if (capsule == NULL && !PyErr_ExceptionMatches(PyExc_AttributeError)) return NULL;
    PyErr_Clear();
    if (capsule != NULL && PyCapsule_IsValid(capsule, NNFAST_CAPSULE))
        predictor = (const nnfast_predictor *)PyCapsule_GetPointer(capsule, NNFAST_CAPSULE);
    Py_XDECREF(capsule);
    if (predictor == NULL)
        PyErr_Format(PyExc_TypeError, "expected an nnfast.Predictor, which net.predictor() returns, or its capsule; got %R",
                     (PyObject *)Py_TYPE(object));
    else if (predictor->abi_version != NNFAST_ABI_VERSION || predictor->struct_size < sizeof(nnfast_predictor)) {
        PyErr_Format(PyExc_ValueError,
                     "this module was compiled for version %d of nnfast's predictors, of %d bytes, but the installed nnfast "
                     "has version %u, of %u bytes: compile it again with the installed nnfast.h",
                     (int)NNFAST_ABI_VERSION, (int)sizeof(nnfast_predictor), (unsigned)predictor->abi_version,
                     (unsigned)predictor->struct_size);
        predictor = NULL;
    }
    return predictor;
}

/* Return 0 if a predictor takes and gives numbers of this type, so many each; else set a ValueError and return -1. */
static inline int nnfast_expect(const nnfast_predictor *predictor, int dtype, int64_t n_inputs, int64_t n_outputs) {
    if (predictor->dtype == dtype && predictor->n_inputs == n_inputs && predictor->n_outputs == n_outputs) return 0;
    PyErr_Format(PyExc_ValueError, "expected a predictor of %lld inputs and %lld outputs in %s, got %lld and %lld in %s",
                 (long long)n_inputs, (long long)n_outputs, dtype == NNFAST_FLOAT64 ? "float64" : "float32",
                 (long long)predictor->n_inputs, (long long)predictor->n_outputs,
                 predictor->dtype == NNFAST_FLOAT64 ? "float64" : "float32");
    return -1;
}

#endif

#ifdef __cplusplus
}
#endif

#endif
