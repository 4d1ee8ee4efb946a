"""Rockchip RK3588, with the compiler RKNN-Toolkit2."""

from parckit.deploy.targets.target import ConvLimits, Target

_SUPPORTED = """
    Add And ArgMax ArgMin AveragePool BatchNormalization Cast Clip Concat Constant ConstantOfShape Conv ConvTranspose
    Cos DepthToSpace DequantizeLinear Div Dropout Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements
    Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GRU HardSigmoid HardSwish Identity If
    InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization LRN LSTM MatMul
    Max MaxPool MaxRoiPool MaxUnpool MeanVarianceNormalization Min Mish Mod Mul Pad Pow PRelu QuantizeLinear ReduceMax
    ReduceMean ReduceMin ReduceSum Relu Reshape Resize ReverseSequence RoiAlign ScatterND Shape Sigmoid Sin Size Slice
    Softmax Softplus SpaceToDepth Split Sqrt Squeeze Sub Tanh Tile Transpose Unsqueeze Where
"""

RK3588 = Target(
    title="Rockchip RK3588 (RKNN-Toolkit2)",
    source=(
        "RKNNToolKit2_OP_Support v2.1.0, github.com/airockchip/rknn-toolkit2/blob/master/doc; kernel, stride and "
        "padding: the NPU limits of RKNNToolKit2_OP_Support 1.4.0, github.com/rockchip-linux/rknn-toolkit2, the last "
        "version of this list that states them"
    ),
    unknown=(
        "which operators run on the CPU of the board, ranks and element types: they stand in "
        "RKNN_Compiler_Support_Operator_List, a PDF that we could not read"
    ),
    opset=18,
    # The lowest opset is not published. It is the lowest one that an export writes.
    opsets=(11, 19),
    # Slice, Softmax and Tile take one image.
    batch_size=1,
    kernels={"Conv": 31, "ConvTranspose": 31},
    conv=ConvLimits(stride=7, padding=15),
    operators=frozenset(_SUPPORTED.split()),
)
