"""The only import of matplotlib, when a display is drawn."""

from typing import Any


def import_pyplot(caller: str) -> Any:
    """``matplotlib.pyplot``, or an error with the command that installs it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(f"{caller} needs matplotlib: pip install sk-autoenc[plot]") from error
    return plt
