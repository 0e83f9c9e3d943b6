"""Make the picture of the README and of the site's first page from an example: ``python docs/picture.py``."""

import runpy
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

HERE = Path(__file__).parent

if __name__ == "__main__":
    runpy.run_path(str(HERE / "examples" / "reduce" / "plot_swap_pca.py"))
    for figure in map(plt.figure, plt.get_fignums()):
        if any(ax.get_xlabel().startswith("autoencoder") for ax in figure.axes):
            for ax, title in zip(figure.axes, ("PCA(2)", "AutoencoderTransformer(2)"), strict=True):
                ax.set(title=title, xlabel="", ylabel="")
            legend = figure.axes[0].get_legend()
            labels = [text.get_text() for text in legend.get_texts()]
            figure.legend(legend.legend_handles, labels, loc="outside right center")
            legend.remove()
            figure.set_size_inches(8, 3.6)
            figure.savefig(HERE / "_static" / "codes.png", dpi=80)
