"""The generative adversarial network of rows, with defaults that do not collapse; its turns are in ``base.gan``."""

from sk_autoenc._compat import StrOptions
from sk_autoenc.base.gan import AdversarialSampler
from sk_autoenc.base.stored import storable_sampler
from sk_autoenc.data.dataset import Rows
from sk_autoenc.data.observed import SampledRows
from sk_autoenc.storage import flag
from sk_autoenc.training.run import Result


@storable_sampler(SampledRows, is_mixture_=flag)
class GANSampler(AdversarialSampler):
    r"""Draw new rows from a network that has learned to deceive a critic.

    A generator makes rows of normal numbers; a critic learns to tell them from training rows, and the generator learns
    to be taken for real [1]_. The defaults are those of R3GAN [2]_: pairs of a real and a generated row are compared,
    :math:`-\log \sigma(D(x) - D(g))`, and the critic's slope is penalised at both (R1 and R2 [3]_), which is what keeps
    the generator from collapsing to a few kinds of rows. Losses say nothing about the quality of samples; that is
    measured on held-out rows, see ``quality_curves_``, and ``fit`` warns of collapse.

    Rows are standardised by column (images by one scale), so units do not matter. Data frames may also have columns of
    categories, strings, booleans and dates, without missing cells: both networks see an indicator of each level, scaled
    so that a category counts as one column, and a sample gets the level with the largest. There is no density and so no
    ``score_samples``; :class:`VAETransformer` has one. Sparse matrices are not accepted.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Length of the latent code. ``"auto"`` is the number of columns, at most 64. With ``init="mixture"`` it is at
        least one more than there are columns. Each level of a category counts as a column.
    architecture : sequence of int or architecture object, default=(64, 64, 64)
        The generator is the decoder of this architecture. Widths are short for an :class:`MLP` with
        ``activation="leaky_relu"``; :class:`Convolutional` is for images and series.
    critic : sequence of int, architecture object or "auto", default="auto"
        The critic is the encoder of this architecture, with one output; ``"auto"`` is ``architecture``. A critic of up
        to 16 columns also reads the sine and cosine of every column at three frequencies.
    loss : str, default="relativistic"
        What players minimise: ``"relativistic"`` [2]_, ``"non_saturating"`` and ``"minimax"`` [1]_,
        ``"least_squares"`` [4]_, ``"hinge"`` [5]_ or ``"wasserstein"`` [6]_.
    gradient_penalty : {"auto", "r1", "r1_r2", "gulrajani", "clipping"} or None, default="auto"
        Penalty on the critic's slope. ``"r1"`` and ``"r1_r2"`` hold it to 0 at real rows, or at both kinds of rows;
        their weight falls from 0.05 to 0.0015 times the total variance over training. ``"gulrajani"`` holds the slope
        of a Wasserstein critic to 1, with weight 10 [7]_; ``"clipping"`` brings its weights into [-0.01, 0.01] after
        each step [6]_, for comparisons with older results. ``"auto"`` is ``"gulrajani"`` for that critic, None with
        ``spectral_norm``, else ``"r1_r2"``.
    n_critic : int or "auto", default="auto"
        Steps of the critic for each of the generator; ``"auto"`` is 5 for ``loss="wasserstein"``, else 1.
    spectral_norm : bool, default=False
        Whether layers of the critic are divided by their largest singular value.
    ema : float, default=0.998
        Rows are made by a running average of the generator's weights, which keeps this share at each step, less in the
        first steps; 0 uses the last weights.
    init : {"random", "mixture"}, default="random"
        ``"mixture"`` starts at the :class:`~sklearn.mixture.GaussianMixture` with the lowest BIC and adds a network to
        its draws. The mixture is the result where held-out rows do not gain by the network, or where there are too few
        to tell.
    values : {"observed", "real", "unbounded"}, default="observed"
        What samples hold. ``"observed"``: columns with at least two training rows for each distinct value have the
        nearest of these values, and all stay within the range of the training rows; ``"real"``: any value within that
        range; ``"unbounded"``: any value.
    max_iter : int or "auto", default="auto"
        Number of epochs; ``"auto"`` is as many as make 5000 steps of the critic.
    batch_size : int or "auto", default="auto"
        Rows per step; ``"auto"`` is 512 for an MLP, else 128.
    learning_rate : float or "auto", default="auto"
        Size of the steps. ``"auto"`` is 0.005, or 0.001 for images, series and ``init="mixture"``.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        How the rates of both players change over training.
    optimizer : {"adam", "adamw", "nadam", "radam", "sgd"}, default="adam"
        The optimizer of both players, without momentum.
    weight_decay : float, default=0.0
        How strongly weights are drawn to zero at each step.
    early_stopping : bool, default=False
        Whether to stop, and return to the best weights, when the energy distance to held-out rows does not fall any
        more. The averaged weights of the last epoch were as good in our trials.
    validation_fraction : float, default=0.1
        Share of rows held out for the figures, from 600 rows on; with fewer, ``early_stopping`` holds them out in four
        folds, by four further fits.
    n_iter_no_change : int, default=20
        Epochs without improvement before training stops.
    tol : float, default=1e-4
        Improvement of the energy score that counts, in standard deviations.
    warm_start : bool, default=False
        Whether ``fit`` goes on from where the last one ended.
    callbacks : list of skorch callbacks or None, default=None
        They see every epoch.
    net_params : dict or None, default=None
        More for the optimizers, as ``optimizer__<name>``.
    device : str, default="auto"
        ``"cpu"``, ``"cuda"``, or ``"auto"`` for CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds weights, draws and the order of rows; no global state is read or set.
    verbose : int, default=0
        Above 0 prints a line for each epoch.

    Attributes
    ----------
    net_ : AdversarialNet
        The trained skorch net; ``net_.module_`` holds generator, average and critic.
    latent_ : NormalPrior
        What codes are drawn from.
    n_components_ : int
        Length of a code.
    is_mixture_ : bool
        Whether the gaussian mixture is the result, and the network was dropped.
    sample_quality_ : dict of str to float
        ``"energy_distance"``, ``"precision"``, ``"recall"``, ``"density"`` and ``"coverage"`` of
        :mod:`sk_autoenc.metrics`, in standard deviations: up to 1000 held-out rows against 1000 samples, but the last
        four against as many as rows. Training rows take their place where none are held out. NaN for fewer than 10.
    quality_curves_ : dict of str to list of float
        ``"energy_distance"`` and ``"coverage"`` on held-out rows after each epoch; only where rows are held out. With
        ``loss="wasserstein"`` also ``"wasserstein_distance"``, the critic's estimate.
    n_iter_ : int
        Number of epochs.
    loss_curve_ : list of float
        Sum of the players' losses in each epoch.
    loss_curves_ : dict of str to list of float
        The loss of each player, ``"critic"`` (penalty included) and ``"generator"``.
    validation_loss_curve_ : list of float
        Mean energy score of held-out rows: half the energy distance, up to a constant.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if they were strings.
    input_shape_ : tuple of int
        Shape of one row.
    device_ : str
        The device in use.

    See Also
    --------
    ConditionalGANSampler : Draws rows of a class, or for given targets.
    TabularSampler : Draws rows of mixed columns, also with missing cells or with some columns given.
    VAETransformer : Has a density and codes of rows, and no game to balance.

    References
    ----------
    .. [1] Goodfellow et al. (2014). Generative adversarial nets. NeurIPS.
    .. [2] Huang et al. (2024). The GAN is dead; long live the GAN! A modern GAN baseline. NeurIPS.
    .. [3] Mescheder, Geiger, Nowozin (2018). Which training methods for GANs do actually converge? ICML.
    .. [4] Mao et al. (2017). Least squares generative adversarial networks. ICCV.
    .. [5] Lim and Ye (2017). Geometric GAN. arXiv:1705.02894.
    .. [6] Arjovsky, Chintala, Bottou (2017). Wasserstein generative adversarial networks. ICML.
    .. [7] Gulrajani et al. (2017). Improved training of Wasserstein GANs. NeurIPS.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_autoenc import GANSampler
    >>> X = load_iris().data
    >>> model = GANSampler(max_iter=20, random_state=0).fit(X)
    >>> model.sample(3, random_state=0).shape
    (3, 4)
    """

    _parameter_constraints: dict = {
        **AdversarialSampler._parameter_constraints,
        "init": [StrOptions({"random", "mixture"})],
    }

    def __init__(
        self,
        n_components="auto",
        *,
        architecture=(64, 64, 64),
        critic="auto",
        loss="relativistic",
        gradient_penalty="auto",
        n_critic="auto",
        spectral_norm=False,
        ema=0.998,
        init="random",
        values="observed",
        max_iter="auto",
        batch_size="auto",
        learning_rate="auto",
        learning_rate_schedule="cosine",
        optimizer="adam",
        weight_decay=0.0,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=20,
        tol=1e-4,
        warm_start=False,
        callbacks=None,
        net_params=None,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.architecture = architecture
        self.critic = critic
        self.loss = loss
        self.gradient_penalty = gradient_penalty
        self.n_critic = n_critic
        self.spectral_norm = spectral_norm
        self.ema = ema
        self.init = init
        self.values = values
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.net_params = net_params
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _has_mixture(self) -> bool:
        return self.init == "mixture"

    def _describe(self, result: Result, rows: Rows, *, whole: bool) -> None:
        self.is_mixture_ = result.kept_start
        super()._describe(result, rows, whole=whole)
