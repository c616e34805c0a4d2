"""The enums of table.pxd, as classes of Python: they are declared there alone."""
