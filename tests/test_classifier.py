import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from toys import small_network

from understudy.classifier import Classifier, InputSpec, Preprocess

GREY = InputSpec(channels=1, mean=(0.4,), std=(0.2,))
PLAIN = InputSpec(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def pixels(channels: int = 3, *, num: int = 2, size: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (num, channels, size, size), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("spec", [InputSpec(), GREY, InputSpec(size=(5, 6))])
@pytest.mark.parametrize("channels", [1, 3])
def test_bytes_and_floats_give_the_same(spec: InputSpec, channels: int) -> None:
    image, preprocess = pixels(channels), Preprocess(spec)
    assert torch.equal(preprocess(image), preprocess(image.float() / 255))


def test_normalises_as_torchvision_does() -> None:
    from torchvision.transforms.v2.functional import normalize

    image = pixels().float() / 255
    spec = InputSpec()
    torch.testing.assert_close(Preprocess(spec)(image), normalize(image, list(spec.mean), list(spec.std)))


@pytest.mark.parametrize("size", [(4, 4), (5, 11), (16, 16)])
def test_resizes_as_torchvision_does(size: tuple[int, int]) -> None:
    from torchvision.transforms.v2.functional import resize

    image = pixels().float() / 255
    resized = Preprocess(InputSpec(size, 3, PLAIN.mean, PLAIN.std))(image)
    torch.testing.assert_close(resized, resize(image, list(size), antialias=True))


def test_image_of_the_right_size_is_not_touched() -> None:
    image = pixels().float() / 255
    assert torch.equal(Preprocess(InputSpec((8, 8), 3, PLAIN.mean, PLAIN.std))(image), image)


def test_grey_becomes_colour_by_repetition() -> None:
    image = pixels(1)
    colour = Preprocess(PLAIN)(image)
    assert colour.shape == (2, 3, 8, 8)
    assert all(torch.equal(colour[:, i], image[:, 0].float() / 255) for i in range(3))


def test_colour_becomes_grey_as_in_pil() -> None:
    image = pixels(num=1)
    grey = Preprocess(InputSpec(channels=1, mean=(0.0,), std=(1.0,)))(image)
    expected = np.asarray(Image.fromarray(image[0].permute(1, 2, 0).numpy()).convert("L"))
    assert grey.shape == (1, 1, 8, 8)
    np.testing.assert_allclose(255 * grey[0, 0].numpy(), expected, atol=1)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 4, 8, 8), (2, 8, 8, 3), (2, 3, 8, 8, 1)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected images of shape \(batch, 1 or 3, height, width\), got") as caught:
        Preprocess(InputSpec())(torch.zeros(shape))
    assert str(shape) in str(caught.value)


def test_statistics_must_match_the_channels() -> None:
    with pytest.raises(ValueError, match="one value for each of 3 channels"):
        InputSpec(mean=(0.5,), std=(0.5,))


@pytest.mark.parametrize("spec", [GREY, InputSpec(size=(5, 6))])
def test_spec_survives_a_file(spec: InputSpec) -> None:
    assert InputSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_classifier_is_its_network_behind_the_preprocessing() -> None:
    network = small_network().eval()
    classifier = Classifier(network, spec=GREY, classes=["a", "b", "c"], settings={"width": 4}).eval()
    image = pixels(1)
    assert torch.equal(classifier(image), network((image.float() / 255 - 0.4) / 0.2))
    assert (classifier.classes, classifier.name, classifier.settings) == (("a", "b", "c"), "custom", {"width": 4})
    assert classifier.state_dict().keys() == {f"network.{name}" for name in network.state_dict()}


def test_preprocessing_follows_the_precision_of_the_model() -> None:
    classifier = Classifier(nn.Flatten(), spec=GREY, classes=["a", "b"]).double()
    assert classifier(pixels(1)).dtype == torch.float64
