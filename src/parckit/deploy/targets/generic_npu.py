"""An NPU that is not known: limits that most published ones allow."""

from parckit.deploy.targets.rdk_x5 import RDK_X5
from parckit.deploy.targets.rk3588 import RK3588
from parckit.deploy.targets.target import ConvLimits, Target

GENERIC_NPU = Target(
    title="an NPU that is not known",
    source=(
        "operators that RDK X5 runs on its NPU and that RK3588 supports; kernels up to 7, as RDK X3's BPU takes (the "
        "same document as RDK X5's) and Texas Instruments' TIDL has validated "
        "(github.com/TexasInstruments/edgeai-tidl-tools, docs/supported_ops_rts_versions.md); stride and padding of "
        "RK3588; four dimensions"
    ),
    unknown="every board has limits of its own; ask its compiler, too",
    opset=RDK_X5.opset,
    opsets=RDK_X5.opsets,
    highest_ir=RDK_X5.highest_ir,
    kernels={"Conv": 7, "ConvTranspose": 7},
    conv=ConvLimits(
        stride=RK3588.conv.stride,
        padding=RK3588.conv.padding,
        dilation=1,
        channels=RDK_X5.conv.channels,
        weights=RDK_X5.conv.weights,
    ),
    operators=RDK_X5.operators & RK3588.operators,
    input_dims=4,
    rank=4,
    types=frozenset({"float32"}),
    most_outputs=RDK_X5.most_outputs,
)
