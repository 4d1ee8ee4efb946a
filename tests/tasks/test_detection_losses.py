import pytest
import torch

from parckit.contract import NetworkSpec, Preprocessing
from parckit.data import Objects, Scene
from parckit.networks import build_network, head_of
from parckit.processing import Geometry, make_decoder
from parckit.tasks.detect import Detect
from parckit.tasks.tinydet_loss import assign

SIZE = (64, 96)


def objects(boxes, labels, *, crowd=()) -> Objects:
    rows = len(boxes)
    return Objects(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.int64),
        crowd=torch.tensor([index in crowd for index in range(rows)], dtype=torch.bool),
    )


MANY = [[i % 60, i % 40, i % 60 + 8, i % 40 + 8] for i in range(5000)]
POINTS = torch.tensor([[x, y] for y in (4.0, 12.0) for x in (4.0, 12.0, 20.0)])


def test_a_position_is_trained_on_the_object_that_its_box_fits():
    truth = objects([[0, 0, 16, 16], [16, 0, 24, 16]], [1, 0])
    boxes = torch.tensor([[0.0, 0, 16, 16]] * 5 + [[16.0, 0, 24, 16]])
    scores = torch.full((6, 2), 0.5)
    wanted, trained_on = assign(scores, boxes, POINTS, truth)
    # The four points inside the first box fit it equally well, and the best one is wanted to score its overlap: 1.
    assert wanted[[0, 1, 3, 4], 1].tolist() == pytest.approx([1, 1, 1, 1])
    assert wanted[5].tolist() == pytest.approx([1, 0])
    assert wanted[2].tolist() == [0, 0]
    assert trained_on[5].tolist() == [16, 0, 24, 16]


def test_an_object_between_all_points_gets_the_nearest_one():
    wanted, _ = assign(
        torch.full((6, 1), 0.1), torch.tensor([[13.0, 13, 15, 15]] * 6), POINTS, objects([[13, 13, 15, 15]], [0])
    )
    assert wanted[:, 0].nonzero().flatten().tolist() == [4]


def test_a_crowd_is_not_trained_on():
    wanted, _ = assign(torch.full((6, 1), 0.1), torch.rand(6, 4), POINTS, objects([[0, 0, 16, 16]], [0], crowd=[0]))
    assert wanted.sum() == 0


@pytest.mark.parametrize("head", ["ssd", "tinydet"])
@pytest.mark.parametrize(
    "scenes",
    [
        pytest.param([objects([], []), objects([], [])], id="no objects"),
        pytest.param([objects([[0, 0, 96, 64]], [1]), objects([], [])], id="one of the whole size"),
        pytest.param([objects([[5, 5, 5.5, 6]], [0]), objects([[0, 0, 9, 9]], [1], crowd=[0])], id="tiny, and a crowd"),
        pytest.param(
            [objects([[i % 60, i % 40, i % 60 + 8, i % 40 + 8] for i in range(5000)], [1] * 5000)] * 2, id="5000"
        ),
    ],
)
def test_losses_and_gradients_are_finite(head, scenes):
    torch.manual_seed(0)
    spec = NetworkSpec(
        task="detect", backbone="test_resnet", head=head, labels=("a", "b"), preprocessing=Preprocessing(size=SIZE)
    )
    network, task = build_network(spec), Detect()
    task.begin(network, spec)
    targets = [Scene(one) for one in scenes]
    loss = task.loss(network, torch.rand(2, 3, *SIZE), targets)
    loss.backward()
    assert loss.isfinite()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in network.parameters())
    losses = task.validation_losses(network.eval()(torch.rand(2, 3, *SIZE)), targets)
    assert losses.shape == (2,)
    assert losses.isfinite().all()


def test_the_small_detector_learns_a_picture():
    torch.manual_seed(0)
    size = (64, 64)
    spec = NetworkSpec(
        task="detect",
        backbone="test_resnet",
        head="tinydet",
        head_kwargs={"width": 32, "depth": 1},
        labels=("square", "bar"),
        preprocessing=Preprocessing(size=size),
    )
    network, task = build_network(spec), Detect()
    task.begin(network, spec)
    images = torch.rand(2, 3, *size) * 0.3
    images[0, 0, 8:28, 8:28] = 1
    images[1, 1, 30:40, 4:60] = 1
    scenes = [Scene(objects([[8, 8, 28, 28]], [0])), Scene(objects([[4, 30, 60, 40]], [1]))]
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        task.loss(network, images, scenes).backward()
        optimizer.step()
    # With the statistics of the batch: sixty steps are too few for the averages that evaluation uses.
    with torch.no_grad():
        outputs = [output.numpy() for output in network(images)]
    whole = Geometry(picture_size=size, input_size=size, scale=(1.0, 1.0), offset=(0.0, 0.0))
    answers = make_decoder(head_of(spec).decoder(spec), spec)(outputs, [whole, whole])
    for answer, scene in zip(answers, scenes, strict=True):
        assert answer.labels[0] == scene.objects.labels[0]
        assert abs(answer.boxes[0] - scene.objects.boxes[0].numpy()).max() < 4
