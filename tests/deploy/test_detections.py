"""Networks that return detections, from checkpoint to ONNX Runtime."""

import numpy as np
import pytest
import torch
from torch import Tensor

from parckit.contract import NetworkSpec, Preprocessing
from parckit.deploy import ExportError, ExportSettings, export_bundle
from parckit.networks import build_network
from parckit.runtimes import Predictor, open_session
from parckit.runtimes.torch import TorchSession

SIZE = (64, 96)
HEAD = {
    "width": 16,
    "hidden": 32,
    "mask_width": 16,
    "anchors": [8.0, 16.0, 32.0, 64.0, 128.0],
    "proposals": 50,
    # So high that the image of zeros, with which a graph is traced, has no detection.
    "threshold": 0.9,
}


def spec_of(head: str, *, backbone: str = "test_resnet") -> NetworkSpec:
    return NetworkSpec(
        task="detect",
        backbone=backbone,
        head=head,
        head_kwargs=HEAD,
        labels=("a", "b"),
        preprocessing=Preprocessing(size=SIZE),
    )


def network_of(spec: NetworkSpec) -> torch.nn.Module:
    """Return a network whose detections depend on the image: fresh last layers have weights near zero."""
    torch.manual_seed(0)
    network = build_network(spec).eval()
    generator = torch.Generator().manual_seed(2)
    for name, weight in network.named_parameters():
        if name.startswith(("rpn.", "stages.", "mask_branch.")) and weight.ndim > 1:
            weight.data = 2 * torch.randn(weight.shape, generator=generator) / weight[0].numel() ** 0.5
    return network


def images(count: int) -> Tensor:
    levels = torch.linspace(0, 4, count)[:, None, None, None]
    return levels * torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(0))


# Unlike the ResNet, the ParC networks write into no map in place. torch's exporter then merges equal operations.
@pytest.mark.parametrize(
    ("head", "backbone"),
    [
        ("faster_rcnn", "test_resnet"),
        ("cascade_mask_rcnn", "parc_mobilenetv2"),
    ],
)
def test_onnx_runtime_detects_what_torch_detects(tmp_path, head, backbone):
    spec = spec_of(head, backbone=backbone)
    network = network_of(spec)
    bundle = tmp_path / "bundle"
    contract = export_bundle(network, spec, out=bundle)
    (artefact,) = contract.artefacts
    assert artefact.outputs[0].shape == (None, 4)
    assert contract.madds > 0
    session, torchs = open_session(bundle), TorchSession(network, spec)
    counts: list[int] = []
    for image in images(6).numpy():
        expected, actual = torchs(image[None]), session(image[None])
        counts.append(len(expected[0]))
        assert [output.shape for output in actual] == [output.shape for output in expected]
        for one, other in zip(expected, actual, strict=True):
            # The same float32 operations in another order. Boxes are numbers of pixels, and strong random weights
            # amplify the rounding of a deep backbone from stage to stage.
            np.testing.assert_allclose(other, one, rtol=0, atol=1e-2)
    assert min(counts) == 0 < max(counts)
    answer = Predictor(session, overrides={"threshold": 0.0})(np.zeros((50, 70, 3), np.uint8))
    assert len(answer) <= 100


@pytest.mark.parametrize("settings", [ExportSettings(batch_size=2), ExportSettings(form="matmul")], ids=str)
def test_settings_that_detections_do_not_allow_are_refused(tmp_path, settings):
    spec = spec_of("faster_rcnn")
    with pytest.raises(ExportError, match="needs batch_size 1, and the form auto or conv"):
        export_bundle(network_of(spec), spec, out=tmp_path / "bundle", settings=settings)
    assert not (tmp_path / "bundle").exists()
