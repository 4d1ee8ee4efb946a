import copy
import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms.v2 import functional as TF

from backbones import as_if_trained
from parckit.contract import SPEC_KEY, InputError, NetworkSpec, Preprocessing
from parckit.data.digits import open_digits
from parckit.models import preprocessing_of
from parckit.networks import build_network, open_checkpoint, save_weights
from parckit.tasks import teacher as teachers
from parckit.tasks.distill import DistillationSettings, Distiller

DIGITS = tuple("0123456789")
STUDENT = NetworkSpec(
    backbone="test_efficientnet",
    labels=DIGITS,
    preprocessing=Preprocessing(size=(32, 32), mean=(0.4, 0.3, 0.2), std=(0.2, 0.3, 0.4)),
)
TEACHER = NetworkSpec(
    backbone="test_resnet",
    labels=DIGITS,
    preprocessing=Preprocessing(size=(32, 32), mean=(0.5, 0.4, 0.1), std=(0.3, 0.1, 0.2), channel_order="bgr"),
)

# float32 against float64 through both networks: ten times the largest found.
CLOSE = {"rel": 2e-5}


@functools.cache
def digits(split: str) -> tuple[Tensor, Tensor]:
    """Return (N, 3, 32, 32) in 0..1, and the classes."""
    table = open_digits(split=split)
    pictures = [TF.pil_to_tensor(table.load(index)) for index in range(len(table.targets))]
    return torch.stack(pictures).float() / 255, torch.from_numpy(table.targets)


def normalised(pictures: Tensor, preprocessing: Preprocessing) -> Tensor:
    ordered = pictures.flip(1) if preprocessing.channel_order == "bgr" else pictures
    mean, std = (ordered.new_tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    return (ordered - mean) / std


def cross_entropy(targets: Tensor) -> Callable[[Tensor], Tensor]:
    return functools.partial(F.cross_entropy, target=targets)


@pytest.fixture
def pictures() -> Tensor:
    """Return 16 digits whose channels differ, so that their order and normalisation matter."""
    return digits("val")[0][:16] * torch.tensor([1.0, 0.7, 0.4])[:, None, None]


@pytest.fixture
def targets() -> Tensor:
    return digits("val")[1][:16]


@pytest.fixture
def student() -> nn.Module:
    """Return a network in eval mode: its norms then do the same in float64."""
    return as_if_trained(build_network(STUDENT)).eval()


@pytest.fixture
def teacher(pictures: Tensor) -> nn.Module:
    """Return a network that finds several classes among the pictures, where a random one finds the same in all."""
    model = as_if_trained(build_network(TEACHER)).eval()
    with torch.no_grad():
        model.get_classifier().bias -= model(normalised(pictures, TEACHER.preprocessing)).mean(0)
    return model


@pytest.fixture
def checkpoint(teacher: nn.Module, tmp_path: Path) -> str:
    save_weights(teacher, TEACHER, tmp_path / "teacher.safetensors")
    return str(tmp_path / "teacher.safetensors")


def logits64(model: nn.Module, pictures: Tensor, preprocessing: Preprocessing) -> Tensor:
    return copy.deepcopy(model).double()(normalised(pictures.double(), preprocessing)).detach()


@pytest.mark.parametrize(("temperature", "weight"), [(1.0, 1.0), (3.0, 0.5), (20.0, 0.1)])
def test_soft_distillation_is_that_of_the_paper(temperature, weight, student, teacher, checkpoint, pictures, targets):
    distillation = DistillationSettings(teacher=checkpoint, temperature=temperature, weight=weight)
    distiller = Distiller(distillation, student=student, spec=STUDENT)
    images = normalised(pictures, STUDENT.preprocessing)
    loss = distiller(student, images, supervised=cross_entropy(targets))
    student_logits = logits64(student, pictures, STUDENT.preprocessing)
    p = (logits64(teacher, pictures, TEACHER.preprocessing) / temperature).softmax(1)
    q = (student_logits / temperature).softmax(1)
    divergence = (p * (p / q).log()).sum(1).mean()
    labels = -student_logits.softmax(1)[range(16), targets].log().mean()
    expected = (1 - weight) * labels + weight * temperature**2 * divergence
    assert loss.item() == pytest.approx(expected.item(), **CLOSE)


def test_hard_distillation_learns_the_teachers_choice(student, teacher, checkpoint, pictures, targets):
    distiller = Distiller(
        DistillationSettings(teacher=checkpoint, kind="hard", weight=0.3), student=student, spec=STUDENT
    )
    images = normalised(pictures, STUDENT.preprocessing)
    loss = distiller(student, images, supervised=cross_entropy(targets))
    choices = logits64(teacher, pictures, TEACHER.preprocessing).argmax(1)
    q = logits64(student, pictures, STUDENT.preprocessing).softmax(1)
    labels, distilled = (-q[range(16), classes].log().mean() for classes in (targets, choices))
    assert choices.unique().numel() > 1
    assert not torch.equal(choices, targets)
    assert loss.item() == pytest.approx((0.7 * labels + 0.3 * distilled).item(), **CLOSE)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_maps_are_compared_place_by_place(name, student, pictures, targets, tmp_path):
    pictures = F.interpolate(pictures, (64, 96))
    own_preprocessing = TEACHER.preprocessing if name == "test_resnet" else Preprocessing(size=(160, 160))
    spec = NetworkSpec(backbone=name, labels=DIGITS, preprocessing=own_preprocessing)
    teacher = as_if_trained(build_network(spec)).eval()
    save_weights(teacher, spec, tmp_path / "teacher.safetensors")
    path = str(tmp_path / "teacher.safetensors")
    losses, distillers = [], []
    for features in (0.0, 0.25):
        distillation = DistillationSettings(teacher=path, features=features)
        distillers.append(Distiller(distillation, student=student, spec=STUDENT.with_size((64, 96))))
        images = normalised(pictures, STUDENT.preprocessing)
        losses.append(distillers[-1](student, images, supervised=cross_entropy(targets)))
    wanted_images = normalised(pictures.double(), own_preprocessing)
    if name == "test_vit":  # it takes no other size than its own
        wanted_images = F.interpolate(wanted_images, (160, 160), mode="bilinear", antialias=True)
    student_map, teacher_map = (
        model.double().forward_intermediates(x, indices=1, intermediates_only=True)[0]
        for model, x in ((student, normalised(pictures.double(), STUDENT.preprocessing)), (teacher, wanted_images))
    )
    projection = distillers[1].projection.double()
    projected = (
        torch.einsum("oi,bihw->bohw", projection.weight[:, :, 0, 0], student_map) + projection.bias[:, None, None]
    )
    teacher_map = F.interpolate(teacher_map, student_map.shape[2:], mode="bilinear", antialias=True)
    cosines = (projected * teacher_map).sum(1) / (projected.norm(dim=1) * teacher_map.norm(dim=1))
    assert cosines.shape == (16, 2, 3)
    assert (losses[1] - losses[0]).item() == pytest.approx(0.25 * (1 - cosines.mean()).item(), **CLOSE)


@pytest.mark.parametrize("features", [0.0, 1.0])
def test_the_teacher_stays_as_it_is_and_out_of_sight(
    features, student, teacher, checkpoint, pictures, targets, monkeypatch
):
    monkeypatch.setattr(teachers, "open_checkpoint", lambda path: (teacher, TEACHER))
    before = copy.deepcopy(teacher.state_dict())
    called = []
    distiller = Distiller(DistillationSettings(teacher=checkpoint, features=features), student=student, spec=STUDENT)
    teacher.get_classifier().register_forward_pre_hook(lambda module, inputs: called.append(module))
    distiller.train()
    averaged = copy.deepcopy(distiller)  # what a weight average does with the training module
    images = normalised(pictures, STUDENT.preprocessing)
    for module in (distiller, averaged):
        module(student.train(), images, supervised=cross_entropy(targets)).backward()
    assert called == [teacher.get_classifier()] * 2
    assert not any(module.training for module in teacher.modules())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.parameters())
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    names = ["projection.weight", "projection.bias"] if features else []
    assert [name for name, _ in distiller.named_parameters()] == [*distiller.state_dict()] == names
    assert all(parameter.grad.abs().sum() > 0 for parameter in (*distiller.parameters(), *student.parameters()))


class Pupil(LightningModule):
    """Learn from the teacher alone: of the labels, it is told wrong ones that do not count."""

    def __init__(self, distillation: DistillationSettings) -> None:
        super().__init__()
        self.model = build_network(STUDENT)
        self.distiller = Distiller(distillation, student=self.model, spec=STUDENT)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        pictures, targets = batch
        images = normalised(pictures, STUDENT.preprocessing)
        return self.distiller(self.model, images, supervised=cross_entropy((targets + 1) % 10))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-2)

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        checkpoint[SPEC_KEY] = STUDENT.to_dict()


class Digits(LightningDataModule):
    def train_dataloader(self) -> DataLoader[list[Tensor]]:
        return DataLoader(TensorDataset(*digits("train")), batch_size=64, shuffle=True, drop_last=True)


def train(model: nn.Module, preprocessing: Preprocessing, *, epochs: int) -> nn.Module:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for pictures, targets in [batch for _ in range(epochs) for batch in Digits().train_dataloader()]:
        optimizer.zero_grad()
        F.cross_entropy(model(normalised(pictures, preprocessing)), targets).backward()
        optimizer.step()
    return model.eval()


@torch.no_grad()
def top1(model: nn.Module, preprocessing: Preprocessing) -> float:
    pictures, targets = digits("test")
    return (model(normalised(pictures, preprocessing)).argmax(1) == targets).double().mean().item()


def test_a_student_learns_digits_from_a_teacher_that_knows_them(fit, tmp_path):
    spec = NetworkSpec(backbone="test_efficientnet", labels=DIGITS, preprocessing=TEACHER.preprocessing)
    teacher = train(build_network(spec), spec.preprocessing, epochs=2)
    assert top1(teacher, spec.preprocessing) > 0.8
    save_weights(teacher, spec, tmp_path / "teacher.safetensors")
    pupil = Pupil(DistillationSettings(teacher=str(tmp_path / "teacher.safetensors"), weight=1.0, features=0.5))
    callbacks = [EMAWeightAveraging(decay=0.8), ModelCheckpoint(tmp_path, filename="last")]
    fit(pupil, Digits(), epochs=2, callbacks=callbacks)
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    network = [f"model.{key}" for key in build_network(STUDENT).state_dict()]
    for state in (kept["state_dict"], kept["current_model_state"]):
        assert [*state] == [*network, "distiller.projection.weight", "distiller.projection.bias"]
    model, _ = open_checkpoint(tmp_path / "last.ckpt")
    # Guessing finds a tenth.
    assert top1(model, STUDENT.preprocessing) > 0.7


def test_a_named_model_takes_weights_from_a_file_and_is_normalised_as_timm_says(student, pictures, targets, tmp_path):
    teacher = as_if_trained(timm.create_model("test_resnet", num_classes=10)).eval()
    torch.save({"state_dict": teacher.state_dict()}, tmp_path / "weights.pth")
    distillation = DistillationSettings(
        teacher="test_resnet", teacher_weights=str(tmp_path / "weights.pth"), weight=1.0
    )
    distiller = Distiller(distillation, student=student, spec=STUDENT)
    loss = distiller(student, normalised(pictures, STUDENT.preprocessing), supervised=cross_entropy(targets))
    student_logits = logits64(student, pictures, STUDENT.preprocessing) / 3
    teacher_logits = logits64(teacher, pictures, preprocessing_of(teacher)) / 3
    divergence = F.kl_div(student_logits.log_softmax(1), teacher_logits.softmax(1), reduction="batchmean")
    assert loss.item() == pytest.approx(9 * divergence.item(), **CLOSE)


def test_pretrained_weights_of_other_classes_are_no_teacher(student, monkeypatch):
    # What timm does where there is a network.
    monkeypatch.setattr(teachers, "create_model", lambda name, **options: timm.create_model(name))
    with pytest.raises(InputError, match=r"teacher='test_resnet': has 1000 classes, the data have 10"):
        Distiller(DistillationSettings(teacher="test_resnet"), student=student, spec=STUDENT)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"kind": "warm"}, r"distillation\.kind='warm': choose from"),
        ({"temperature": 0.0}, r"distillation\.temperature=0\.0: must be positive"),
        ({"weight": 0.0}, r"distillation\.weight=0\.0: .*\(0, 1\]"),
        ({"weight": 1.5}, r"distillation\.weight=1\.5: .*\(0, 1\]"),
        ({"features": -1.0}, r"distillation\.features=-1\.0: must be 0 or more"),
        ({"teacher": "no_such_model"}, "teacher='no_such_model': .*Unknown model"),
        ({"teacher": "parcnet_s"}, "teacher='parcnet_s': cannot load its pretrained weights .*No pretrained weights"),
        ({"teacher": "none.ckpt"}, "none.ckpt: no such file"),
        ({"teacher_weights": "none.pth"}, "teacher_weights=none.pth: no such file"),
        ({"teacher_weights": "none.ckpt"}, "teacher_weights=none.ckpt: .* use it as teacher"),
        (
            {"teacher": "own.ckpt", "teacher_weights": "w.pth"},
            "teacher_weights=w.pth: teacher=own.ckpt is a checkpoint",
        ),
    ],
)
def test_mistakes_are_named_in_one_line(options, named, student):
    with pytest.raises(InputError, match=named) as caught:
        Distiller(DistillationSettings(**{"teacher": "test_resnet"} | options), student=student, spec=STUDENT)
    assert "\n" not in str(caught.value)


def test_weights_of_other_classes_are_refused_in_one_line(student, tmp_path):
    path = tmp_path / "seven.pth"
    torch.save(timm.create_model("test_resnet", num_classes=7).state_dict(), path)
    with pytest.raises(InputError, match=rf"teacher_weights={path}: .* with 10 classes .*fc\.weight") as caught:
        Distiller(DistillationSettings(teacher="test_resnet", teacher_weights=str(path)), student=student, spec=STUDENT)
    assert "\n" not in str(caught.value)


def test_a_teachers_outputs_are_matched_by_name(student, teacher, checkpoint, pictures, targets, tmp_path, caplog):
    images = normalised(pictures, STUDENT.preprocessing)

    def loss(labels: str, **options: object) -> float:
        spec = replace(STUDENT, labels=tuple(labels))
        distiller = Distiller(DistillationSettings(**options, weight=1.0), student=student, spec=spec)
        return distiller(student, images, supervised=cross_entropy(targets)).item()

    by_name = loss("9876543210", teacher=checkpoint)
    ours = logits64(student, pictures, STUDENT.preprocessing) / 3
    wanted = logits64(teacher, pictures, TEACHER.preprocessing).flip(1) / 3
    divergence = F.kl_div(ours.log_softmax(1), wanted.softmax(1), reduction="batchmean")
    assert by_name == pytest.approx(9 * divergence.item(), **CLOSE)
    # Weights alone do not say what their outputs are. A file can.
    torch.save(teacher.state_dict(), tmp_path / "weights.pth")
    (tmp_path / "names.txt").write_text("\n".join("0123456789"))
    weights = {"teacher": TEACHER.backbone, "teacher_weights": str(tmp_path / "weights.pth")}
    assumed = loss("9876543210", **weights)
    assert "so its outputs are taken in the order of the data's classes, ('9', '8'" in caplog.text
    caplog.clear()
    named = loss("9876543210", **weights, teacher_classes=str(tmp_path / "names.txt"))
    assert assumed != pytest.approx(named, rel=0.01)
    assert not caplog.records
    (tmp_path / "names.txt").write_text("\n".join("012345678"))
    with pytest.raises(InputError, match="has 9 names, but the teacher has 10 outputs"):
        loss("9876543210", **weights, teacher_classes=str(tmp_path / "names.txt"))


def test_a_teacher_of_colours_teaches_grey_images(teacher, checkpoint, pictures, targets):
    grey = replace(STUDENT, backbone_kwargs={"in_chans": 1}, preprocessing=STUDENT.preprocessing.as_grey())
    student = as_if_trained(build_network(grey)).eval()
    distiller = Distiller(DistillationSettings(teacher=checkpoint, weight=1.0), student=student, spec=grey)
    images = pictures[:, :1]
    actual = distiller(student, normalised(images, grey.preprocessing), supervised=cross_entropy(targets))
    ours = logits64(student, images, grey.preprocessing) / 3
    wanted = logits64(teacher, images.expand(-1, 3, -1, -1), TEACHER.preprocessing) / 3
    divergence = F.kl_div(ours.log_softmax(1), wanted.softmax(1), reduction="batchmean")
    assert actual.item() == pytest.approx(9 * divergence.item(), **CLOSE)


@pytest.mark.parametrize("labels", [tuple("abcdefghij"), tuple("01234")])
def test_a_checkpoint_of_other_classes_is_no_teacher(labels, checkpoint, student):
    spec = NetworkSpec(backbone=STUDENT.backbone, labels=labels, preprocessing=STUDENT.preprocessing)
    with pytest.raises(InputError, match=rf"its classes \(10: \('0', '1',.*\) are not the data's \({len(labels)}: "):
        Distiller(DistillationSettings(teacher=checkpoint), student=student, spec=spec)


def test_a_teacher_that_cannot_take_the_images_is_named(checkpoint, student, monkeypatch):
    convnext = timm.create_model("test_convnext", num_classes=10)
    monkeypatch.setattr(teachers, "open_checkpoint", lambda path: (convnext, TEACHER))
    with pytest.raises(InputError, match=r"teacher\.safetensors .*cannot take RGB images of size=\(16, 16\)"):
        Distiller(DistillationSettings(teacher=checkpoint), student=student, spec=STUDENT.with_size((16, 16)))


def test_a_teacher_is_tried_on_the_sizes_that_training_draws(checkpoint, student, monkeypatch):
    convnext = timm.create_model("test_convnext", num_classes=10)
    monkeypatch.setattr(teachers, "open_checkpoint", lambda path: (convnext, TEACHER))
    distiller = Distiller(DistillationSettings(teacher=checkpoint), student=student, spec=STUDENT.with_size((64, 64)))
    distiller.check_input((96, 96))
    with pytest.raises(InputError, match=r"teacher\.safetensors .*cannot take RGB images of size=\(16, 16\)"):
        distiller.check_input((16, 16))


def test_a_network_without_stages_learns_no_maps(checkpoint):
    with pytest.raises(InputError, match=r"distillation\.features: test_efficientnet does not return maps"):
        Distiller(DistillationSettings(teacher=checkpoint, features=1.0), student=nn.Sequential(), spec=STUDENT)
