"""The order of the examples: by task, and within a task the easiest first."""

ORDER = {
    "reduce": ["plot_swap_pca", "plot_denoising", "plot_manifolds", "plot_grid_search"],
    "density": [
        "plot_sampling_digits",
        "plot_interpolation",
        "plot_density_models",
        "plot_beta",
        "plot_adversarial",
    ],
    "outliers": ["plot_outliers", "plot_mixed_table", "plot_heart_beats", "plot_server_metric"],
    "images": ["plot_inpainting", "plot_vae_manifold", "plot_negatives"],
    "pairs": ["plot_clean_digits", "plot_larger_digits", "plot_masks"],
    "series": ["plot_beat_features", "plot_molecules"],
    "sentences": ["plot_dates"],
    "gan": [
        "plot_gan_toys",
        "plot_four_on_digits",
        "plot_weaknesses",
        "plot_translate_digits",
        "plot_over_sampling",
    ],
    "few_labels": ["plot_hundred_labels", "plot_semi_supervised_table"],
    "recommend": ["plot_films"],
    "tables": ["plot_synthetic_table", "plot_imputation"],
}
FILES = [f"{name}.py" for names in ORDER.values() for name in names]


class EasiestFirst:
    """Sorts the files of one folder; a file that is missing in the list above is an error."""

    def __init__(self, src_dir):
        self.src_dir = src_dir

    def __repr__(self):
        return "<EasiestFirst>"

    def __call__(self, filename):
        return FILES.index(filename)
