"""The enums of table.pxd as Python classes; they are declared only there."""
