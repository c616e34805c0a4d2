from typing import Final

LEVELS: Final[tuple[str, ...]]
level: Final[str]

def supported_levels() -> tuple[str, ...]: ...
def built_levels() -> tuple[str, ...]: ...
