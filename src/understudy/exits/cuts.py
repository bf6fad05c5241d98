"""Cut a network into stages behind named layers, so that a later stage can be left out."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, fx, nn

from understudy.taps import evaluating


class CannotSplitError(Exception):
    """Why a network cannot be cut as wanted."""


def split(network: nn.Module, points: Sequence[str]) -> list[fx.GraphModule]:
    """Stages that one after the other do in eval mode what the network does; they share its layers.

    A cut is legal where all that comes later depends on the image through the output of the named layer alone; layers
    inside a residual block do not qualify.

    Args:
        network: Normalised images -> logits. Of its code the path of eval mode is followed.
        points: Module paths of the layers behind which to cut, from shallow to deep.

    Returns:
        One stage more than there are points.

    Raises:
        CannotSplitError: The code cannot be followed, or a cut is not legal.
    """
    tracer, whole = _Tracer(), _OneInput(network)
    try:
        with evaluating(network):
            graph = tracer.trace(whole)
    # Whatever the code of a user's network raises on a symbol in the place of an image.
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise CannotSplitError(f"the code of {type(network).__name__} cannot be followed ({reason})") from error
    splitter = _Splitter(graph)
    ends = [splitter.checked(point, tracer.ends.get(f"network.{point}")) for point in points]
    bounds = [None, *ends, None]
    parts = [splitter.part(start, end) for start, end in pairwise(bounds)]
    return [fx.GraphModule(whole, part) for part in parts]


class _OneInput(nn.Module):
    """Leaves out what else a network could be given, as the attention mask of timm's transformers."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image)


class _Tracer(fx.Tracer):
    """Notes which node is the output of which layer, also of those that it looks into."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: dict[str, fx.Node] = {}

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        output = super().call_module(m, forward, args, kwargs)
        if isinstance(output, fx.Proxy):
            self.ends[self.path_of_module(m)] = output.node
        return output


class _Splitter:
    def __init__(self, graph: fx.Graph) -> None:
        self.nodes = list(graph.nodes)
        self.order = {node: number for number, node in enumerate(self.nodes)}
        self.image = next(node for node in self.nodes if node.op == "placeholder")
        self._fixed: dict[fx.Node, bool] = {}

    def checked(self, point: str, end: fx.Node | None) -> fx.Node:
        if end is None:
            raise CannotSplitError(f"'{point}' gives more than one tensor, or is not reached")
        place = self.order[end]
        needed = {
            before
            for after in self.nodes[place + 1 :]
            for before in after.all_input_nodes
            if self.order[before] <= place and not self._is_fixed(before)
        }
        if needed != {end}:
            raise CannotSplitError(f"what comes behind '{point}' needs more than its output")
        return end

    def _is_fixed(self, node: fx.Node) -> bool:
        """Whether it is the same for all images, such as a parameter: then every stage may compute it anew."""
        if node not in self._fixed:
            known = node.op != "placeholder" and all(map(self._is_fixed, node.all_input_nodes))
            self._fixed[node] = known and (node.op == "get_attr" or bool(node.all_input_nodes))
        return self._fixed[node]

    def part(self, start: fx.Node | None, end: fx.Node | None) -> fx.Graph:
        """The nodes behind `start` up to `end` as a graph; None is the image, and the logits."""
        graph = fx.Graph()
        known = {start or self.image: graph.placeholder("feature")}

        def copied(node: fx.Node) -> fx.Node:
            if node not in known:
                known[node] = graph.node_copy(node, copied)
            return known[node]

        first = 0 if start is None else self.order[start] + 1
        last = len(self.nodes) if end is None else self.order[end] + 1
        for node in self.nodes[first:last]:
            if node.op == "output":
                graph.output(copied(self._logits(node)))
            elif node.op != "placeholder" and not (node.op == "get_attr" and not node.users):
                copied(node)
        if end is not None:
            graph.output(known[end])
        return graph

    def _logits(self, output: fx.Node) -> fx.Node:
        (value,) = output.args
        if not isinstance(value, fx.Node):
            raise CannotSplitError("the network gives more than logits")
        return value
