"""One style for every figure.

The palette is that of Okabe and Ito, which readers with any colour vision can tell apart; shapes
differ where colours do.
"""

from __future__ import annotations

import base64
import html
import io
from contextlib import AbstractContextManager

import matplotlib.pyplot as plt
from cycler import cycler
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#666666"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""The eight colours of Okabe and Ito, in the order in which figures take them."""


def style() -> AbstractContextManager:
    """The figure style of the book, a context for drawing."""
    return plt.rc_context(
        {
            "figure.dpi": 110,
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.titlesize": 12,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#DDDDDD",
            "axes.prop_cycle": cycler(color=PALETTE),
            "axes.axisbelow": True,
            "legend.frameon": False,
            "image.cmap": "cividis",
        }
    )


def png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG file, closed afterwards: what an image widget takes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    plt.close(figure)
    return stream.getvalue()


def described(figure: Figure, alt: str) -> str:
    """The figure as an HTML image with a text alternative, closed afterwards.

    An image widget has no place for one; an HTML widget shows this.
    """
    encoded = base64.b64encode(png(figure)).decode()
    return f'<img src="data:image/png;base64,{encoded}" alt="{html.escape(alt)}">'
