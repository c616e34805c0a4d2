"""The numbers of the fields of ONNX's messages, and other codes: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto."""

from __future__ import annotations


class Model:
    """Fields of ModelProto."""

    IR_VERSION, PRODUCER_NAME, PRODUCER_VERSION, GRAPH, OPSET_IMPORT, METADATA = 1, 2, 3, 7, 8, 14


class Opset:
    """Fields of OperatorSetIdProto."""

    DOMAIN, VERSION = 1, 2


class Entry:
    """Fields of StringStringEntryProto."""

    KEY, VALUE = 1, 2


class Graph:
    """Fields of GraphProto."""

    NODE, NAME, INITIALIZER, INPUT, OUTPUT = 1, 2, 5, 11, 12


class Node:
    """Fields of NodeProto."""

    INPUT, OUTPUT, NAME, OPERATOR, ATTRIBUTE, DOMAIN = 1, 2, 3, 4, 5, 7


class Attribute:
    """Fields of AttributeProto, and codes of its types."""

    NAME, FLOAT, INT, STRING, TENSOR, FLOATS, INTS, STRINGS, TYPE = 1, 2, 3, 4, 5, 7, 8, 9, 20
    OF_FLOAT, OF_INT, OF_FLOATS, OF_INTS, OF_STRINGS = 1, 2, 6, 7, 8


class Tensor:
    """Fields of TensorProto, and codes of its types."""

    DIMS, TYPE, FLOATS, STRINGS, INTS, NAME, RAW, DOUBLES, EXTERNAL, LOCATION = 1, 2, 4, 6, 7, 8, 9, 10, 13, 14
    FLOAT, INT64, STRING, BOOL, DOUBLE, UINT64 = 1, 7, 8, 9, 11, 13


class Value:
    """Fields of ValueInfoProto, and of the types and shapes within it."""

    NAME, TYPE, TEXT = 1, 2, 3
    TENSOR = 1  # of TypeProto
    ELEMENT, SHAPE = 1, 2  # of TypeProto.Tensor
    DIM = 1  # of TensorShapeProto
    DIM_VALUE, DIM_NAME = 1, 2  # of its dimensions


DTYPES = {"float32": Tensor.FLOAT, "float64": Tensor.DOUBLE}
TYPE_NAMES = {
    2: "UINT8",
    3: "INT8",
    4: "UINT16",
    5: "INT16",
    6: "INT32",
    10: "FLOAT16",
    12: "UINT32",
    16: "BFLOAT16",
    Tensor.FLOAT: "FLOAT",
    Tensor.INT64: "INT64",
    Tensor.STRING: "STRING",
    Tensor.BOOL: "BOOL",
    Tensor.DOUBLE: "DOUBLE",
    Tensor.UINT64: "UINT64",
}
LOSS = "nnfast.loss"  # the key of the loss in the metadata
COLUMNS = "nnfast.columns"  # the key of the names of the columns of a table model in the metadata
