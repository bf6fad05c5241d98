"""Networks with early exits outside torch."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from branched_toys import branched, images
from torch import Tensor

from understudy.classifier import Classifier, InputSpec
from understudy.errors import UserError
from understudy.exits import Policy, add_exits, export, predict, predict_all, split_stages
from understudy.exits.export import Exported, export_exits
from understudy.exits.export_runtime import EarlyExits
from understudy.exits.scores import SCORES
from understudy.exits.staged import Staged
from understudy.testing import small_network

NUM = 40


def pixels(num: int = NUM, *, size: int = 16, seed: int = 3) -> Tensor:
    return (images(num, size=size, seed=seed) * 255).to(torch.uint8)


def mixed(staged: Staged, score: str = "entropy", *, seed: int = 3) -> Policy:
    """Some images leave at each exit, and some temperatures are not 1."""
    unset = Policy.of(score, [0.0, 0.0], [1.5, 0.8])
    doubts = unset.doubts(predict_all(staged.model, pixels(seed=seed)))
    return Policy.of(score, [doubts[0].quantile(0.4).item(), doubts[1].quantile(0.6).item()], [1.5, 0.8])


@pytest.fixture(scope="module")
def staged() -> Staged:
    return split_stages(branched(), pixels())


@pytest.fixture(scope="module")
def written(staged: Staged, tmp_path_factory: pytest.TempPathFactory) -> tuple[Exported, Path]:
    folder = tmp_path_factory.mktemp("export") / "onnx"
    return export_exits(staged, pixels(), mixed(staged), folder), folder


def test_stages_skip_and_agree_with_the_network(staged: Staged, written: tuple[Exported, Path]) -> None:
    network, policy, given = EarlyExits(written[1], num_threads=1), mixed(staged), pixels(seed=5)
    for dial in (0.0, 0.7, 1.0, 1.4, float("inf")):
        found, expected = network(given.numpy(), dial=dial), predict(staged, given, policy, dial=dial)
        assert found.exits.tolist() == expected.exit.tolist()
        assert found.macs.tolist() == expected.macs.tolist()
        np.testing.assert_allclose(found.logits, expected.logits.numpy(), rtol=1e-4, atol=1e-5)
    assert set(network(given.numpy()).exits.tolist()) == {0, 1, 2}
    one = [network(image[None].numpy()).exits.item() for image in given]
    assert one == network(given.numpy()).exits.tolist()


def test_stages_are_not_run_for_nobody(written: tuple[Exported, Path]) -> None:
    class Broken:
        def run(self, *_: Any) -> None:
            raise AssertionError("a stage that nobody needs was run")

        get_inputs = run

    network = EarlyExits(written[1])
    network._stages[1:] = [Broken(), Broken()]
    network._heads[1:] = [Broken()]
    assert network(pixels().numpy(), dial=0).exits.tolist() == [0] * NUM
    network._heads[0] = Broken()
    with pytest.raises(AssertionError, match="was run"):
        network(pixels().numpy(), dial=0)


def test_a_closed_head_is_not_run(staged: Staged, written: tuple[Exported, Path]) -> None:
    found = EarlyExits(written[1])(pixels().numpy(), thresholds=[float("-inf"), float("inf")])
    assert set(found.exits.tolist()) == {1}
    assert set(found.macs.tolist()) == {sum(staged.stage_macs[:2]) + staged.head_macs[1]}


def test_nested_graph_agrees_and_its_thresholds_turn(staged: Staged, written: tuple[Exported, Path]) -> None:
    session = onnxruntime.InferenceSession(written[1] / "nested.onnx")
    given = pixels(8, seed=5)
    for dial in (0.0, 1.0, 1.4, float("inf")):
        policy = mixed(staged).turned(dial)
        expected = predict(staged, given, policy)
        limits = np.array(policy.thresholds, np.float32)
        for image, logits, taken in zip(given, expected.logits, expected.exit, strict=True):
            said, exits = session.run(None, {"image": image[None].numpy(), "thresholds": limits})
            assert exits.tolist() == [int(taken)]
            np.testing.assert_allclose(said[0], logits.numpy(), rtol=1e-4, atol=1e-5)


def test_nested_graph_has_later_stages_inside_if_alone(written: tuple[Exported, Path]) -> None:
    """ONNX Runtime runs one branch of an `If`: what stands there is skipped."""

    def convolutions(graph: Any) -> list[int]:
        """Convolutions of the stages at each level."""
        inner = [attribute.g for node in graph.node if node.op_type == "If" for attribute in node.attribute]
        here = [node for node in graph.node if node.op_type == "Conv" and "stage" in node.output[0]]
        deeper = [convolutions(branch) for branch in inner]
        return [len(here), *max(deeper, key=len, default=[])]

    whole = onnx.load(written[1] / "nested.onnx")
    parts = [onnx.load(written[1] / f"stage-{number}.onnx") for number in (1, 2, 3)]
    expected = [sum(node.op_type == "Conv" for node in part.graph.node) for part in parts]
    found = convolutions(whole.graph)
    assert found == expected
    assert min(found) > 0
    # Weights of an outer graph are no constants to ONNX Runtime: it would not rearrange them.
    assert all(weight.name.startswith(("stage1/", "head1/")) for weight in whole.graph.initializer)


@pytest.mark.parametrize("score", [score for score in SCORES if score != "entropy"])
def test_every_score(score: str, tmp_path: Path) -> None:
    staged = split_stages(branched(exits=["layer2"], heads="linear"), pixels())
    doubts = Policy.of(score, [0.0], [1.5]).doubts(predict_all(staged.model, pixels()))
    policy = Policy.of(score, [doubts.quantile(0.5).item()], [1.5])
    found = export_exits(staged, pixels(), policy, tmp_path)
    assert found.parity.same_exit == NUM
    assert found.parity.difference < 1e-5
    for dial in (0.8, 1.2):
        expected = predict(staged, pixels(seed=5), policy, dial=dial)
        taken = EarlyExits(tmp_path, num_threads=1)(pixels(seed=5).numpy(), dial=dial).exits
        assert taken.tolist() == expected.exit.tolist()


def test_preprocessing_is_inside(tmp_path: Path) -> None:
    """Grey images of another size for a network that wants colour."""
    torch.manual_seed(0)
    spec = InputSpec(size=(16, 16), channels=3)
    model = Classifier(small_network((4, 6, 8)), spec=spec, classes=tuple("abcde")).eval()
    given = pixels(12, size=24)[:, :1]
    add_exits(model, given, exits=["layer2"], heads="linear")
    found = export_exits(split_stages(model, given), given, Policy.of("margin", [0.5]), tmp_path)
    assert found.parity.difference < 1e-4


def test_the_runtime_stands_alone(written: tuple[Exported, Path], tmp_path: Path) -> None:
    exported, folder = written
    assert {path.name for path in exported.files} == {path.name for path in folder.iterdir()}
    np.save(tmp_path / "images.npy", pixels(3).numpy())
    done = subprocess.run(
        [sys.executable, "early_exits.py", str(tmp_path / "images.npy")], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    taken = EarlyExits(folder)(pixels(3).numpy()).exits
    assert [line.split("\t")[1] for line in done.stdout.splitlines()] == [f"exit {number + 1}" for number in taken]
    tree = ast.parse((folder / "early_exits.py").read_text(encoding="utf-8"))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names} == {
        "numpy",
        "numpy.typing",
        "onnxruntime",
    }


def test_the_runtime_refuses_other_images(written: tuple[Exported, Path]) -> None:
    network = EarlyExits(written[1])
    for wrong in (pixels().float().numpy(), pixels(size=8).numpy()):
        with pytest.raises(ValueError, match=r"uint8 images of shape \(images, 3, 16, 16\)"):
            network(wrong)
    with pytest.raises(ValueError, match="dial must be 0 or more"):
        network(pixels().numpy(), dial=-1)
    with pytest.raises(ValueError, match="expected 2 thresholds, got 1"):
        network(pixels().numpy(), thresholds=[0.5])
    assert network(pixels().numpy()[:0]).logits.shape == (0, 5)


def test_an_export_that_says_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pytorch's issue 169178: an exporter that loses the mean of a BatchNorm."""
    exported = export._exported

    def wrong(*arguments: Any) -> Any:
        model = exported(*arguments)
        for tensor in model.graph.initializer:
            if len(tensor.dims) == 1 and tensor.dims[0] == 6:
                values = onnx.numpy_helper.to_array(tensor)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values + np.float32(0.3), tensor.name))
        return model

    monkeypatch.setattr(export, "_exported", wrong)
    staged = split_stages(branched(exits=["layer2"], heads="linear"), pixels())
    with pytest.raises(UserError, match="says otherwise at exit 1"):
        export_exits(staged, pixels(), Policy.of("entropy", [1.0]), tmp_path / "onnx")
    assert not any((tmp_path / "onnx").iterdir())


def test_a_folder_that_is_a_file(staged: Staged, tmp_path: Path) -> None:
    (tmp_path / "onnx").write_text("")
    with pytest.raises(UserError, match=r"cannot create .*onnx': File exists; choose another out=DIR"):
        export_exits(staged, pixels(), mixed(staged), tmp_path / "onnx")


def test_thresholds_that_are_words(written: tuple[Exported, Path], tmp_path: Path) -> None:
    policy = Policy.of("entropy", [float("-inf"), float("inf")])
    shutil.copytree(written[1], tmp_path / "onnx")
    record = json.loads((tmp_path / "onnx/exits.json").read_text())
    (tmp_path / "onnx/exits.json").write_text(json.dumps({**record, **policy.to_record()}))
    assert EarlyExits(tmp_path / "onnx").thresholds == policy.thresholds
