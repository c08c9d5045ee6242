"""Networks: objects with state, used as pure functions.

A module is an object that makes its own parameters; `transform` turns a function that uses modules
into a pair of pure functions, `init` and `apply`. Parameters are a dictionary of dictionaries of
arrays.

    f = nn.transform(lambda x: nn.nets.MLP([300, 100, 10])(x))
    params = f.init(key, x)
    y = f.apply(params, key, x)
"""

from renga import __version__ as __version__
from renga.nn import (
    config,
    data_structures,
    experimental,
    initializers,
    interop,
    mixed_precision,
    nets,
    pad,
    testing,
    typing,
)
from renga.nn._attention import GroupedQueryAttention, MultiHeadAttention, rotary_embedding
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
from renga.nn._capture import Captured, capture, check_params, summary
from renga.nn._control import cond, fori_loop, map, scan, switch, while_loop
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
from renga.nn._deferred import Deferred
from renga.nn._dot import to_dot
from renga.nn._embed import Embed, EmbedLookupStyle
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
from renga.nn._layer_stack import LayerStackTransparencyMapping, layer_stack
from renga.nn._layers_view import stack_layers, unstack_layers
from renga.nn._lazy import abstract_init
from renga.nn._lift import (
    LiftWithStateUpdater,
    lift,
    lift_with_state,
    transparent_lift,
    transparent_lift_with_state,
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
from renga.nn._pool import AvgPool, MaxPool, avg_pool, max_pool
from renga.nn._recurrent import GRU, LSTM, LSTMState, RNNCore, VanillaRNN
from renga.nn._recurrent_conv import Conv1DLSTM, Conv2DLSTM, Conv3DLSTM
from renga.nn._recurrent_deep import DeepRNN, IdentityCore, ResetCore, deep_rnn_with_skip_connections
from renga.nn._rng import PRNGSequence
from renga.nn._save import load, save
from renga.nn._spectral import SNParamsTree, SpectralNorm
from renga.nn._stateful import eval_shape, grad, remat, value_and_grad, vmap
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
from renga.nn._types import MutableParams, MutableState, Params, State
from renga.nn._unroll import BidirectionalRNN, dynamic_unroll, static_unroll

__all__ = [
    "DO_NOT_STORE",
    "GRU",
    "LSTM",
    "AvgPool",
    "BatchApply",
    "BatchNorm",
    "Bias",
    "BidirectionalRNN",
    "Captured",
    "Conv1D",
    "Conv1DLSTM",
    "Conv1DTranspose",
    "Conv2D",
    "Conv2DLSTM",
    "Conv2DTranspose",
    "Conv3D",
    "Conv3DLSTM",
    "Conv3DTranspose",
    "ConvND",
    "ConvNDTranspose",
    "DeepRNN",
    "Deferred",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "DepthwiseConv3D",
    "EMAParamsTree",
    "Embed",
    "EmbedLookupStyle",
    "ExponentialMovingAverage",
    "Flatten",
    "GetterContext",
    "GroupNorm",
    "GroupedQueryAttention",
    "IdentityCore",
    "InstanceNorm",
    "JaxUsageError",
    "LSTMState",
    "LayerNorm",
    "LayerStackTransparencyMapping",
    "LiftWithStateUpdater",
    "Linear",
    "MaxPool",
    "MethodContext",
    "MissingParameterError",
    "MissingRNGError",
    "Module",
    "ModuleProtocol",
    "MultiHeadAttention",
    "MultiTransformed",
    "MultiTransformedWithState",
    "MutableParams",
    "MutableState",
    "NonEmptyStateError",
    "PRNGSequence",
    "Params",
    "RMSNorm",
    "RNNCore",
    "ResetCore",
    "Reshape",
    "SNParamsTree",
    "SeparableDepthwiseConv2D",
    "Sequential",
    "SetterContext",
    "SpectralNorm",
    "State",
    "SupportsCall",
    "Transformed",
    "TransformedWithState",
    "VanillaRNN",
    "abstract_init",
    "avg_pool",
    "capture",
    "check_params",
    "cond",
    "config",
    "current_name",
    "custom_creator",
    "custom_getter",
    "custom_setter",
    "data_structures",
    "deep_rnn_with_skip_connections",
    "dropout",
    "dynamic_unroll",
    "eval_shape",
    "expand_apply",
    "experimental",
    "force_name",
    "fori_loop",
    "get_channel_index",
    "get_current_state",
    "get_initial_state",
    "get_parameter",
    "get_params",
    "get_state",
    "grad",
    "initializers",
    "intercept_methods",
    "interop",
    "layer_stack",
    "lift",
    "lift_with_state",
    "load",
    "map",
    "max_pool",
    "maybe_get_rng_sequence_state",
    "maybe_next_rng_key",
    "mixed_precision",
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
    "remat",
    "replace_rng_sequence_state",
    "reserve_rng_keys",
    "rotary_embedding",
    "running_init",
    "save",
    "scan",
    "set_state",
    "stack_layers",
    "static_unroll",
    "summary",
    "switch",
    "testing",
    "to_dot",
    "to_module",
    "transform",
    "transform_with_state",
    "transparent",
    "transparent_lift",
    "transparent_lift_with_state",
    "typing",
    "unstack_layers",
    "value_and_grad",
    "vmap",
    "while_loop",
    "with_empty_state",
    "with_rng",
    "without_apply_rng",
    "without_state",
]
