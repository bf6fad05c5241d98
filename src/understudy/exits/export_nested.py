"""One ONNX graph whose later stages stand inside `If` nodes: what an image does not need is not computed."""

from collections.abc import Sequence
from typing import Any

IMAGE, THRESHOLDS = "image", "thresholds"


def nest(stages: Sequence[Any], heads: Sequence[Any]) -> Any:
    """Put the graphs of stages and heads into one graph for one image.

    Inputs: `image` (1, channels, height, width) as the first stage takes it, and `thresholds` (exits,), float32: the
    image leaves at the first exit whose doubt is below its threshold. Outputs: `logits` (1, classes), and `exit` (1,),
    int64, from 0. Every head on the way is evaluated, also where its threshold is -infinity.

    Args:
        stages: `onnx.ModelProto` with one input; the last one gives logits.
        heads: One for each stage but the last, from its output to logits and doubt (1,).

    Returns:
        An `onnx.ModelProto`, checked.
    """
    from onnx import TensorProto, checker, helper

    given, said = stages[0].graph.input[0].type.tensor_type, stages[-1].graph.output[0].type.tensor_type
    shape = [1, *(side.dim_value for side in given.shape.dim[1:])]
    inputs = [
        helper.make_tensor_value_info(IMAGE, given.elem_type, shape),
        helper.make_tensor_value_info(THRESHOLDS, TensorProto.FLOAT, [len(heads)]),
    ]
    builder = _Builder(stages, heads, num_classes=said.shape.dim[1].dim_value)
    graph = builder.level(0, IMAGE, inputs)
    model = helper.make_model(graph, opset_imports=stages[0].opset_import, ir_version=stages[0].ir_version)
    checker.check_model(model, full_check=True)
    return model


class _Builder:
    """Graphs by level: level 0 is the whole, level 1 the else branch of its `If`, and so on."""

    def __init__(self, stages: Sequence[Any], heads: Sequence[Any], *, num_classes: int) -> None:
        self.stages = stages
        self.heads = heads
        self.num_classes = num_classes

    def level(self, number: int, feature: str, inputs: Sequence[Any] = ()) -> Any:
        """From a feature to what is said about it; its weights stand in it, where a runtime can rearrange them."""
        from onnx import helper

        stage, (passed_on,) = self._placed(self.stages[number], f"stage{number + 1}/", feature)
        nodes, weights = [*stage.node], [*stage.initializer]
        outputs = self._outputs(number)
        if number == len(self.heads):
            nodes += self._leaving(number, passed_on, outputs)
        else:
            head, (logits, doubt) = self._placed(self.heads[number], f"head{number + 1}/", passed_on)
            nodes += [*head.node, *self._decision(number, logits, doubt, passed_on)]
            weights += head.initializer
        return helper.make_graph(nodes, f"level{number}", inputs, outputs, weights)

    def _decision(self, number: int, logits: str, doubt: str, passed_on: str) -> list[Any]:
        from onnx import helper

        place, limit, sure = (f"exit{number + 1}/{word}" for word in ("place", "limit", "sure"))
        here = self._outputs(number, "_here")
        return [
            helper.make_node("Constant", [], [place], value_ints=[number]),
            helper.make_node("Gather", [THRESHOLDS, place], [limit]),
            helper.make_node("Less", [doubt, limit], [sure]),
            helper.make_node(
                "If",
                [sure],
                [output.name for output in self._outputs(number)],
                then_branch=helper.make_graph(self._leaving(number, logits, here), f"leave{number}", [], here),
                else_branch=self.level(number + 1, passed_on),
            ),
        ]

    def _placed(self, model: Any, prefix: str, given: str) -> tuple[Any, list[str]]:
        """The graph of a model with names of its own, reading `given`, and the names of its outputs."""
        from onnx import compose, helper

        graph = compose.add_prefix_graph(model.graph, prefix)
        graph.node.insert(0, helper.make_node("Identity", [given], [graph.input[0].name]))
        return graph, [output.name for output in graph.output]

    def _leaving(self, number: int, logits: str, outputs: Sequence[Any]) -> list[Any]:
        from onnx import helper

        said, taken = (output.name for output in outputs)
        return [
            helper.make_node("Identity", [logits], [said]),
            helper.make_node("Constant", [], [taken], value_ints=[number]),
        ]

    def _outputs(self, number: int, where: str = "") -> list[Any]:
        from onnx import TensorProto, helper

        # No name may come twice, in whatever branch.
        suffix = f"_{number}{where}" if number or where else ""
        return [
            helper.make_tensor_value_info(f"logits{suffix}", TensorProto.FLOAT, [1, self.num_classes]),
            helper.make_tensor_value_info(f"exit{suffix}", TensorProto.INT64, [1]),
        ]
