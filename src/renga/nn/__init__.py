"""Networks: objects with state, used as pure functions.

A module is an object that makes its own parameters; `transform` turns a function that uses modules
into a pair of pure functions, `init` and `apply`. Parameters are a dictionary of dictionaries of
arrays.

    f = nn.transform(lambda x: nn.nets.MLP([300, 100, 10])(x))
    params = f.init(key, x)
    y = f.apply(params, key, x)
"""

from renga.nn import initializers, nets, pad
from renga.nn._basic import (
    BatchApply,
    Flatten,
    Reshape,
    Sequential,
    dropout,
    expand_apply,
    multinomial,
    one_hot,
    to_module,
)
from renga.nn._batch_norm import BatchNorm
from renga.nn._conv import ConvND, ConvNDTranspose, get_channel_index
from renga.nn._conv_fixed import (
    Conv1D,
    Conv1DTranspose,
    Conv2D,
    Conv2DTranspose,
    Conv3D,
    Conv3DTranspose,
    DepthwiseConv1D,
    DepthwiseConv2D,
    DepthwiseConv3D,
    SeparableDepthwiseConv2D,
)
from renga.nn._errors import (
    JaxUsageError,
    MissingParameterError,
    MissingRNGError,
    NonEmptyStateError,
)
from renga.nn._keys import (
    maybe_get_rng_sequence_state,
    maybe_next_rng_key,
    next_rng_key,
    next_rng_keys,
    replace_rng_sequence_state,
    reserve_rng_keys,
    with_rng,
)
from renga.nn._linear import Bias, Linear
from renga.nn._module import (
    MethodContext,
    Module,
    ModuleProtocol,
    SupportsCall,
    current_name,
    force_name,
    intercept_methods,
    name_like,
    name_scope,
    transparent,
)
from renga.nn._moving import EMAParamsTree, ExponentialMovingAverage
from renga.nn._norm import GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from renga.nn._params import (
    DO_NOT_STORE,
    GetterContext,
    SetterContext,
    custom_creator,
    custom_getter,
    custom_setter,
    get_current_state,
    get_initial_state,
    get_parameter,
    get_params,
    get_state,
    running_init,
    set_state,
)
from renga.nn._rng import PRNGSequence
from renga.nn._spectral import SNParamsTree, SpectralNorm
from renga.nn._transform import (
    MultiTransformed,
    MultiTransformedWithState,
    Transformed,
    TransformedWithState,
    multi_transform,
    multi_transform_with_state,
    transform,
    transform_with_state,
    with_empty_state,
    without_apply_rng,
    without_state,
)

__all__ = [
    "DO_NOT_STORE",
    "BatchApply",
    "BatchNorm",
    "Bias",
    "Conv1D",
    "Conv1DTranspose",
    "Conv2D",
    "Conv2DTranspose",
    "Conv3D",
    "Conv3DTranspose",
    "ConvND",
    "ConvNDTranspose",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "DepthwiseConv3D",
    "EMAParamsTree",
    "ExponentialMovingAverage",
    "Flatten",
    "GetterContext",
    "GroupNorm",
    "InstanceNorm",
    "JaxUsageError",
    "LayerNorm",
    "Linear",
    "MethodContext",
    "MissingParameterError",
    "MissingRNGError",
    "Module",
    "ModuleProtocol",
    "MultiTransformed",
    "MultiTransformedWithState",
    "NonEmptyStateError",
    "PRNGSequence",
    "RMSNorm",
    "Reshape",
    "SNParamsTree",
    "SeparableDepthwiseConv2D",
    "Sequential",
    "SetterContext",
    "SpectralNorm",
    "SupportsCall",
    "Transformed",
    "TransformedWithState",
    "current_name",
    "custom_creator",
    "custom_getter",
    "custom_setter",
    "dropout",
    "expand_apply",
    "force_name",
    "get_channel_index",
    "get_current_state",
    "get_initial_state",
    "get_parameter",
    "get_params",
    "get_state",
    "initializers",
    "intercept_methods",
    "maybe_get_rng_sequence_state",
    "maybe_next_rng_key",
    "multi_transform",
    "multi_transform_with_state",
    "multinomial",
    "name_like",
    "name_scope",
    "nets",
    "next_rng_key",
    "next_rng_keys",
    "one_hot",
    "pad",
    "replace_rng_sequence_state",
    "reserve_rng_keys",
    "running_init",
    "set_state",
    "to_module",
    "transform",
    "transform_with_state",
    "transparent",
    "with_empty_state",
    "with_rng",
    "without_apply_rng",
    "without_state",
]
