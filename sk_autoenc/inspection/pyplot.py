"""The one import of matplotlib, made when something is drawn and not before."""

from typing import Any


def import_pyplot(caller: str) -> Any:
    """``matplotlib.pyplot``, or an error that says how to get it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(f"{caller} needs matplotlib: pip install sk-autoenc[plot]") from error
    return plt
