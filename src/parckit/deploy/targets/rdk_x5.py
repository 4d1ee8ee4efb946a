"""D-Robotics RDK X5, with the NPU "BPU Bayes-e"."""

from parckit.deploy.targets.target import ConvLimits, Target

_ON_BPU = """
    Abs Acos Acosh Add ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Ceil Clip Concat Constant
    ConstantOfShape Conv ConvTranspose Cos Cosh DepthToSpace Div Dropout Elu Erf Exp Expand Flatten Floor Gather
    GatherElements Gemm GlobalAveragePool GlobalMaxPool HardSigmoid LSTM LeakyRelu Log MatMul Max MaxPool Mul PRelu Pad
    Pow Reciprocal ReduceMax ReduceMean ReduceSum Relu Reshape Resize Round Selu Shape Sigmoid Sign Sin Sinh Size Slice
    Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh Tile TopK Transpose Unsqueeze Upsample
"""
_ON_BPU_IF_ASKED = "Equal Greater GreaterOrEqual Less LessOrEqual Min Softmax"
"""They run on the CPU, if the compiler's setting `run_on_bpu` does not name them."""
_ON_CPU = """
    And Cast CumSum DequantizeLinear EyeLike GRU GatherND GlobalLpPool Identity InstanceNormalization LRN LogSoftmax
    LpNormalization LpPool MaxRoiPool Mod Neg Not OneHot Or QuantizeLinear RNN RandomUniform RandomUniformLike Range
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMin ReduceProd ReduceSumSquare ReverseSequence RoiAlign
    ScatterElements ScatterND ThresholdedRelu Where
"""

RDK_X5 = Target(
    title="D-Robotics RDK X5 (BPU Bayes-e)",
    source=(
        "D-Robotics RDK documentation, toolchain, the ONNX operators of RDK X5 (supported_op_list.md) and the models "
        "that it converts (ptq_process.md); github.com/D-Robotics/rdk_doc, commit fde2a10; the pages have no version"
    ),
    unknown=(
        "the shapes that Add, Mul and other operators broadcast, sizes of Split and Resize, and the memory of the "
        "board are not checked"
    ),
    opset=11,
    opsets=(10, 11),
    highest_ir=7,
    kernels={"Conv": 31, "ConvTranspose": 14, "AveragePool": 256, "MaxPool": 256},
    conv=ConvLimits(stride=256, padding=256, dilation=16, channels=8192, weights=32767),
    operators=frozenset(_ON_BPU.split()),
    on_cpu=frozenset(_ON_CPU.split()) | frozenset(_ON_BPU_IF_ASKED.split()),
    input_dims=4,
    # Inputs and outputs have four dimensions, but for the operators below and those that allow ten.
    rank=10,
    ranks={
        "ArgMax": 4,
        "ArgMin": 4,
        "AveragePool": 4,
        "BatchNormalization": 4,
        "Conv": 5,
        "ConvTranspose": 4,
        "DepthToSpace": 4,
        "Gather": 4,
        "GlobalAveragePool": 4,
        "GlobalMaxPool": 4,
        "MaxPool": 4,
        "PRelu": 4,
        "ReduceMax": 5,
        "ReduceMean": 5,
        "ReduceSum": 5,
        "Resize": 4,
        "Softmax": 4,
        "SpaceToDepth": 4,
    },
    types=frozenset({"float32"}),
    most_outputs=32,
)
