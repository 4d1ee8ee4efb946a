"""Every family as an encoder of segmentation_models_pytorch, by its name in timm's registry."""

import pytest
import segmentation_models_pytorch as smp
import torch

from backbones import OURS, has_output_stride, images

# DeepLab's encoder strides by 16 at most, which attention cannot.
CASES = [(name, decoder) for name in OURS for decoder in (smp.Unet, smp.DeepLabV3Plus)]
CASES = [(name, decoder) for name, decoder in CASES if decoder is smp.Unet or has_output_stride(name)]
ENCODERS = (*OURS, "parc_mobilenetv2")


@pytest.mark.parametrize(("name", "decoder"), CASES)
def test_masks_are_as_large_as_images_and_everything_learns(name, decoder):
    torch.manual_seed(0)
    model = decoder(encoder_name=f"tu-{name}", encoder_weights=None, classes=4).train()
    x = images(64, 96)
    masks = model(x)
    assert masks.shape == (2, 4, 64, 96)
    masks.square().mean().backward()
    assert [path for path, parameter in model.named_parameters() if parameter.grad is None] == []
    assert any(parameter.grad.any() for parameter in model.encoder.parameters())


@pytest.mark.parametrize("name", ENCODERS)
@torch.no_grad()
def test_encoders_give_a_map_for_every_halving(name):
    encoder = smp.encoders.get_encoder(f"tu-{name}", weights=None).eval()
    x = images(64, 96)
    features = encoder(x)
    assert [feature.shape[1] for feature in features] == encoder.out_channels
    assert [feature.shape[2:] for feature in features] == [(64 // 2**i, 96 // 2**i) for i in range(6)]


def test_an_encoder_that_cannot_stride_less_says_so():
    with pytest.raises(TypeError, match="output_stride"):
        smp.DeepLabV3Plus(encoder_name="tu-test_edgevit", encoder_weights=None)
