"""Fitted networks as ONNX models, alone or as a step of a Pipeline that skl2onnx converts."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

#: What can be exported: the fitted function, its input, and its output.
_PARTS = {
    "encoder": ("encoder_", "X", "codes"),
    "decoder": ("decoder_", "Z", "rows"),
    "reconstruct": (None, "X", "rows"),
    "score": ("scorer_", "X", "scores"),
}

_OPSET = 20


class _Function(nn.Module):
    """A function of a network, as a module whose weights the exporter sees."""

    def __init__(self, network: nn.Module, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.network, self.function = network, function

    def forward(self, rows: Tensor) -> Tensor:
        return self.function(rows)


def to_onnx(estimator: Any, part: str = "encoder", *, dtype: str = "float32") -> Any:
    """A fitted model as an ONNX model, which runs without torch and without this package.

    Centre and scale of the columns are part of it, so it reads and returns rows in their own units.

    Parameters
    ----------
    estimator : AutoencoderTransformer, VAETransformer or AAETransformer
        Fitted, on any device.
    part : {"encoder", "decoder", "reconstruct", "score"}, default="encoder"
        What the model computes: ``transform``, ``inverse_transform``, ``reconstruct``, or ``score_samples`` of an
        :class:`AutoencoderTransformer`; scores of a VAE are drawn.
    dtype : {"float32", "float64"}, default="float32"
        Of the input. The network computes in float32; take float64 for rows far from 0, such as times.

    Returns
    -------
    onnx.ModelProto
        Its input and its output have any number of rows. Write it by ``onnx.save``.

    Raises
    ------
    ImportError
        If ``onnx`` and ``onnxscript`` are not installed: ``pip install "sk-autoenc[onnx]"``.
    ValueError
        For a part that the estimator does not have, or that holds operations which ONNX lacks, such as the scores of
        counts.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sk_autoenc import AutoencoderTransformer
    >>> from sk_autoenc.onnx_export import to_onnx
    >>> X = load_iris().data.astype(np.float32)
    >>> model = AutoencoderTransformer(2, max_iter=5, random_state=0).fit(X)
    >>> import onnxruntime
    >>> session = onnxruntime.InferenceSession(to_onnx(model).SerializeToString())
    >>> codes, = session.run(None, {"X": X})
    >>> codes.shape
    (150, 2)
    >>> bool(np.allclose(codes, model.transform(X), atol=1e-5))
    True
    """
    if part not in _PARTS:
        raise ValueError(f"part must be one of {list(_PARTS)}, got {part!r}.")
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}.")
    check_is_fitted(estimator)
    _, name_in, name_out = _PARTS[part]
    estimator = copy.deepcopy(estimator)
    # For inference, layers choose kernels by the number of rows, so that results are equal bit for bit. For training
    # they compute the same plainly, with any number of rows.
    network = estimator.net_.module_.train()
    function, n_in = _function_of(estimator, part)
    example = torch.zeros(2, n_in, dtype=getattr(torch, dtype), device=estimator.device_)
    try:
        program = torch.onnx.export(
            _Function(network, function),
            (example,),
            input_names=[name_in],
            output_names=[name_out],
            opset_version=_OPSET,
            dynamic_shapes=({0: torch.export.Dim("n_rows")},),
            dynamo=True,
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ValueError(
            f"part={part!r} of this {type(estimator).__name__} has operations that ONNX lacks, or that torch cannot "
            f"export: {error}"
        ) from error
    assert program is not None
    return program.model_proto


def _function_of(estimator: Any, part: str) -> tuple[Callable[[Tensor], Tensor], int]:
    """The function of a part, and the number of columns that it reads."""
    attribute = _PARTS[part][0]
    if (attribute or "encoder_") not in dir(estimator):
        raise ValueError(f"part={part!r} is not a function of {type(estimator).__name__} that draws nothing.")
    if getattr(estimator.architecture, "unequal_lengths", False):
        raise ValueError(f"{type(estimator).__name__} with series of unequal lengths has no export to ONNX.")
    n_features = int(np.prod(estimator.input_shape_))
    if attribute is None:
        encode, decode = estimator.encoder_, estimator.decoder_
        return lambda rows: decode(encode(rows)), n_features
    return getattr(estimator, attribute), _n_codes(estimator) if part == "decoder" else n_features


def _n_codes(estimator: Any) -> int:
    """Number of columns of the codes."""
    return len(estimator.get_feature_names_out())


def register_converters() -> None:
    """Let skl2onnx convert Pipelines whose steps are transformers of this package.

    Examples
    --------
    >>> from sk_autoenc.onnx_export import register_converters
    >>> register_converters()
    """
    from skl2onnx import update_registered_converter

    from sk_autoenc.estimators.aae import AAETransformer
    from sk_autoenc.estimators.autoencoder import AutoencoderTransformer
    from sk_autoenc.estimators.vae import VAETransformer

    for kind in (AAETransformer, AutoencoderTransformer, VAETransformer):
        update_registered_converter(kind, f"SkAutoenc{kind.__name__}", _set_shapes, _add_encoder)


def _set_shapes(operator: Any) -> None:
    """The type and the shape of what a step returns: codes have the dtype of the rows."""
    operator.outputs[0].type = type(operator.inputs[0].type)([None, _n_codes(operator.raw_operator)])


def _add_encoder(scope: Any, operator: Any, container: Any) -> None:
    """Add the encoder's nodes to those of a Pipeline, under names that are free there."""
    from onnx import TensorProto, numpy_helper
    from onnx.helper import get_attribute_value
    from skl2onnx.common.data_types import DoubleTensorType

    is_double = isinstance(operator.inputs[0].type, DoubleTensorType)
    graph = to_onnx(operator.raw_operator, dtype="float64" if is_double else "float32").graph
    codes = scope.get_unique_variable_name("codes")
    names = {graph.input[0].name: operator.inputs[0].full_name, graph.output[0].name: codes}
    for weight in graph.initializer:
        names[weight.name] = scope.get_unique_variable_name(weight.name)
        values = numpy_helper.to_array(weight)
        container.add_initializer(names[weight.name], weight.data_type, values.shape, values.ravel().tolist())
    for node in graph.node:
        for output in node.output:
            names.setdefault(output, scope.get_unique_variable_name(output))
        container.add_node(
            node.op_type,
            [names[name] for name in node.input],
            [names[name] for name in node.output],
            op_domain=node.domain,
            op_version=_OPSET,
            name=scope.get_unique_operator_name(node.op_type),
            **{item.name: get_attribute_value(item) for item in node.attribute},
        )
    to = TensorProto.DOUBLE if is_double else TensorProto.FLOAT
    name = scope.get_unique_operator_name("Cast")
    container.add_node("Cast", [codes], [operator.outputs[0].full_name], op_version=_OPSET, name=name, to=to)
