"""Padding at the end of a map, so that windows of a stride cover every position."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from parckit.layers.tracing import is_open


# torch.fx records a call as one node, because the function branches on the size of the map.
@torch.fx.wrap
def pad_to_multiple(x: Float[Tensor, "b c h w"], multiple: int) -> Float[Tensor, "b c h2 w2"]:
    """Append zeros at the right and at the bottom, until both sides are multiples of `multiple`.

    Shape:
        (B, C, H, W) -> (B, C, ceil(H / multiple) * multiple, ceil(W / multiple) * multiple)
    """
    height, width = x.shape[2:]
    # Pad only if needed: padding by 0 copies the map and adds operators to traced graphs. `torch.export` may leave the
    # sides open; then the program must pad.
    if is_open(height, width) or height % multiple or width % multiple:
        # Not `-width % multiple`: with whole windows, `torch.export` can prove how long an open side becomes.
        more = multiple - 1
        padded_height, padded_width = ((side + more) // multiple * multiple for side in (height, width))
        x = F.pad(x, (0, padded_width - width, 0, padded_height - height))
    return x
