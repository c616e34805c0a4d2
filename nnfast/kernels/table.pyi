from enum import IntEnum

ColumnKind: type[IntEnum]
Function: type[IntEnum]
Loss: type[IntEnum]
Metric: type[IntEnum]
Number: type[IntEnum]
OptimizerKind: type[IntEnum]
