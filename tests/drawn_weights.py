"""Weights that are not fresh. This file imports no models, so that processes begin quickly."""

import torch
from torch import nn


def as_if_trained(model: nn.Module) -> nn.Module:
    """Draw new numbers for all parameters and buffers, so that the image decides what comes out; return the model.

    A fresh model would hide faults: its norms do nothing, and the image moves its outputs by a millionth.
    """
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        v = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim > 1:
            # Embeddings have no fan-in; 1.2 makes up for what activations take away.
            tensor.copy_(0.5 * v if tensor.shape[0] == 1 else 1.2 * v / tensor[0].numel() ** 0.5)
        elif name.endswith("running_var"):
            tensor.copy_(0.5 + 0.5 * v.abs())
        elif tensor.is_floating_point():
            tensor.copy_(1 + 0.1 * v if name.endswith("weight") else 0.1 * v)
    return model
