"""Walk through the operations of a network, stop in the middle, and go on as several networks at once.

The networks are variants of one: each lacks some maps. To remove a map is to set the weights that read it to zero (see
`surgery`). So up to the first layer that reads a removed map all variants compute the same, and behind it they have the
same layers; they differ in what is read. That saves most of the work:

* what comes before the first reader is computed once;
* the first reader's answers are partial sums of one convolution: where one variant keeps all that another keeps, only
  the maps that it keeps besides are convolved, and added;
* from there on the variants lie side by side along the batch axis and are one large batch.
"""

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._pytree import tree_leaves

from .errors import TraceError
from .graph import tensor_of
from .layers import CONVS
from .surgery import example, layout, silenced, tensors
from .tracing import Graph

Values = dict[fx.Node, Any]
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
ROUNDING = 1e-2  # of the largest value: far more than rounding does, far less than another image would


class Walker(fx.Interpreter):
    """Runs stretches of a network's graph on values computed before. The network is in eval mode, gradients are off.

    `rows` are the nodes whose value has a row for each image, which depends on that image alone, and where that value
    lies in memory; `same` are the nodes whose value does not depend on how many images there are, or which.
    """

    def __init__(self, graph: Graph):
        super().__init__(graph.model, graph=graph.nodes)
        self.extra_traceback = False
        self.traced = graph
        self.order = list(graph.nodes.nodes)
        self.taken = taken(graph.model, self.order)
        self.silent: Sequence[Mapping[str, Tensor]] = ({},)
        self.rows, self.same = self.tried()

    def start(self, x: Tensor) -> Values:
        """The values before the first node but the input: the input, a copy, since a forward may change it in place."""
        return {node: x.clone() for node in self.order if node.op == "placeholder"}

    def walk(
        self, values: Values, start: int, stop: int | None = None, silent: Sequence[Mapping[str, Tensor]] = ({},)
    ) -> None:
        """Run nodes `start` to `stop`; `values` gains their results and loses what nothing needs any more.

        `silent` gives for each variant in the batch, by name, the weights to take in place of the model's.
        """
        self.env, self.silent = values, silent
        for node in self.order[start:stop]:
            if node not in values:
                values[node] = self.run_node(node)
            for dead in self.user_to_last_uses.get(node, ()):
                values.pop(dead, None)

    def call_module(self, target: Any, args: tuple, kwargs: dict) -> Any:
        module, names = self.fetch_attr(target), self.taken[target]
        weights = [{local: new[name] for local, name in names.items() if name in new} for new in self.silent]
        if not any(weights):
            return module(*args, **kwargs)
        (x,) = (*args, *kwargs.values())
        parts = zip(weights, x.chunk(len(weights)), strict=True)
        return torch.cat([functional_call(module, weight, part) for weight, part in parts])

    def get_attr(self, target: Any, args: tuple, kwargs: dict) -> Any:
        return self.silent[0].get(self.taken[target].get("", ""), self.fetch_attr(target))

    def takes(self, node: fx.Node) -> set[str]:
        """Names of the tensors that `node` takes from the model."""
        return set(self.taken[str(node.target)].values()) if node.op in ("call_module", "get_attr") else set()

    def tried(self) -> tuple[dict[fx.Node, int], set[fx.Node]]:
        """`rows` and `same`, found by running three images, and two of them.

        Raises `TraceError` where the operations of the graph do not add up to the network.
        """
        (x,) = example(self.traced.model, [(3, *self.traced.inputs[0].shape[1:])])
        three, two = self.start(x), self.start(x[:2])
        rows, same = {}, set()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            for i, node in enumerate(self.order):
                self.walk(three, i, i + 1)
                self.walk(two, i, i + 1)
                a, b = three.get(node), two.get(node)
                if isinstance(a, Tensor) and a.dim() and len(a) == 3 and close(a[:2], b):
                    rows[node] = a.untyped_storage().data_ptr()
                elif close(a, b):
                    same.add(node)
            if self.order[-1] in rows and not close(three[self.order[-1]], self.traced.model(x)):
                raise TraceError(
                    "The network's operations, one by one, compute something else than its forward. Look for hooks on "
                    "the network itself."
                )
        return rows, same


class Fork:
    """Where the variants of a network part from it: one variant without the colors of each set in `gone`.

    `start` is the position of the first node that takes a weight which reads removed maps; the output, if none does.
    """

    def __init__(self, walker: Walker, gone: Sequence[set[int]]):
        self.walker, self.gone, order = walker, gone, walker.order
        staying = stays(walker.traced, gone)
        readers = [i for i, node in enumerate(order) if not walker.takes(node).isdisjoint(staying)]
        self.start = min(readers, default=len(order) - 1)
        self.first = order[self.start]
        position = {node: i for i, node in enumerate(order)}
        last = {node: max((position[user] for user in node.users), default=-1) for node in order[: self.start]}
        alive = [node for node in last if last[node] >= self.start]
        # Values that lie in the same memory are written on together, which copies side by side would not be.
        places = [walker.rows[node] for node in alive if node in walker.rows]
        self.stacked = (
            all(order[i].op == "call_module" for i in readers)
            and all(node in walker.rows or node in walker.same for node in (*alive, order[-1]))
            and len(set(places)) == len(places)
        )
        self.summed = False
        if self.stacked and readers:
            self.module = walker.fetch_attr(str(self.first.target))
            self.stays = next(stay for name, stay in staying.items() if name in walker.takes(self.first))
            self.summed = summable(self.module, self.stays)
        self.carried = [node for node in alive if last[node] > self.start or not self.summed]
        self.apart = len(readers) > self.summed  # whether a layer in the large batch still differs

    def answers(self, trunk: Values) -> Tensor:
        """What the variants answer to the n images of `trunk`, values before `start`: (variants, n, classes)."""
        walker, variants = self.walker, len(self.gone)
        if not self.stacked:
            return torch.stack([self.alone(trunk, gone) for gone in self.gone])
        values: Values = {}
        for node in self.carried:
            values[node] = torch.cat([trunk[node]] * variants) if node in walker.rows else copy.deepcopy(trunk[node])
        if self.summed:
            (x,) = (trunk[node] for node in self.first.all_input_nodes)
            values[self.first] = partial_sums(self.module, x, self.stays)
        silent = [silenced(walker.traced.model, walker.traced, gone) for gone in self.gone] if self.apart else ({},)
        walker.walk(values, self.start, silent=silent)
        return values[walker.order[-1]].unflatten(0, (variants, -1))

    def alone(self, trunk: Values, gone: set[int]) -> Tensor:
        """What the variant without the colors `gone` answers: (n, classes)."""
        walker = self.walker
        # A copy, since an operation in place further on would spoil the values for the next variant.
        values = copy.deepcopy({node: trunk[node] for node in self.carried}, {id(node): node for node in trunk})
        walker.walk(values, self.start, silent=[silenced(walker.traced.model, walker.traced, gone)])
        return values[walker.order[-1]]


def stays(graph: Graph, gone: Sequence[set[int]]) -> dict[str, Tensor]:
    """For each weight that reads a map of `gone`, which of its inputs stay without each: (variants, inputs), bool."""
    colors = set().union(*gone)
    return {
        axis.tensor: torch.tensor([[color not in lost for color in axis.colors] for lost in gone])
        for axis in graph.axes.values()
        if axis.role == "reads" and not colors.isdisjoint(axis.colors)
    }


def summable(module: Any, stays: Tensor) -> bool:
    """Whether `module` is a plain conv or linear layer, of which each variant reads all that those with less read."""
    plain = type(module) is nn.Linear or (type(module) in CONVS and module.groups == 1)
    by_size = stays[stays.sum(1).argsort()]
    nested = bool(by_size[0].any()) and bool((by_size[:-1] <= by_size[1:]).all())
    return plain and nested and not hooked(module)


def partial_sums(module: Any, x: Tensor, stays: Tensor) -> Tensor:
    """What a conv or linear layer answers to `x` (n, ...) reading only the maps that stay: (variants * n, ...)."""
    dim = x.dim() - 1 if isinstance(module, nn.Linear) else 1
    # A few maps at a time are slow to read where the maps of a pixel lie side by side.
    form, x, weight = layout(x), x.contiguous(), module.weight.contiguous()
    stays = stays.to(x.device)
    sums: dict[int, Tensor] = {}
    read, total = torch.zeros_like(stays[0]), torch.zeros((), dtype=x.dtype, device=x.device)
    for variant in stays.sum(1).argsort().tolist():
        new = (stays[variant] & ~read).nonzero()[:, 0]
        if len(new):
            part = {"weight": weight.index_select(1, new)}
            if sums and module.bias is not None:
                part["bias"] = torch.zeros_like(module.bias)  # it is in the total already
            total = total + functional_call(module, part, x.index_select(dim, new))
        sums[variant], read = total, stays[variant]
    return torch.cat([sums[variant] for variant in range(len(stays))]).contiguous(memory_format=form)


def fold(graph: Graph) -> None:
    """Take each batch norm of the model into the conv before it, where nothing else uses either; in place."""
    model: Any = graph.model
    order = list(graph.nodes.nodes)
    names = taken(model, order)
    calls = Counter(name for node in order for name in names.get(str(node.target), {}).values())
    for node in order:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not (isinstance(before, fx.Node) and before.op == "call_module" and len(before.users) == 1):
            continue
        pair = [str(before.target), str(node.target)]
        conv, norm = map(model.get_submodule, pair)
        if (
            type(conv) in CONVS
            and type(norm) in BATCH_NORMS
            and norm.running_mean is not None
            and not (conv.training or norm.training or hooked(conv) or hooked(norm))
            and all(calls[name] == 1 for target in pair for name in names[target].values())
        ):
            model.set_submodule(pair[0], fuse_conv_bn_eval(conv, norm))
            model.set_submodule(pair[1], nn.Identity())


def hooked(module: nn.Module) -> bool:
    """Whether a hook sees or changes what goes in or comes out."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def taken(model: nn.Module, order: Sequence[fx.Node]) -> dict[str, dict[str, str]]:
    """The tensors that each target of a graph takes from `model`: its own name for it, and the model's (first) name."""
    names, found = {id(tensor): name for name, tensor in tensors(model).items()}, {}
    for node in order:
        if node.op == "call_module":
            own = tensors(model.get_submodule(str(node.target)))
        elif node.op == "get_attr":
            own = {"": tensor_of(model, str(node.target))}
        else:
            continue
        found[str(node.target)] = {local: names[id(tensor)] for local, tensor in own.items() if id(tensor) in names}
    return found


def close(a: Any, b: Any) -> bool:
    """Whether two values are the same but for rounding."""
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        return not any(isinstance(leaf, Tensor) for leaf in tree_leaves((a, b))) and a == b
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype is torch.bool:
        return bool((a == b).all())
    return a.numel() == 0 or bool((a - b).abs().max() <= ROUNDING * b.abs().max())
