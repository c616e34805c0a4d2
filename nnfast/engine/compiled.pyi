import numpy as np

def differences_of_compiled(
    function: int,
    user_data: int,
    x: np.ndarray,
    right: np.ndarray,
    left: np.ndarray,
    slopes: np.ndarray,
    forward: bool,
    threads: int,
) -> None: ...
