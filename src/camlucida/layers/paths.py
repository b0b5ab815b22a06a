"""How much of what reaches the logits passes through a tensor, read off autograd's graph."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Node = Any  # torch.autograd.graph.Node, whose stubs lack what is needed
Edge = tuple[Node, int]  # a node and which of its outputs
Numbered = tuple[int, int]  # the same with a number for the node


def edge_of(tensor: Tensor) -> Edge | None:
    """Where a tensor stands in the graph; None if it does not depend on the input."""
    return None if tensor.grad_fn is None else (tensor.grad_fn, tensor.output_nr)


@dataclass(frozen=True)
class Graph:
    """The graph without autograd's own objects: for each node those that it leads to, nearer to the input.

    A node comes behind all that it leads to. ``root`` is the logits' edge, ``source`` the input's node.
    """

    following: Sequence[Sequence[Numbered]]
    root: Numbered
    source: int

    def cut_by(self, edges: Collection[Numbered]) -> bool:
        """Whether no path from the logits to the input is left without these edges: a vertex cut."""
        removed = set(edges)
        if self.root in removed:
            return True
        waiting, entered = [self.root[0]], {self.root[0]}
        while waiting:
            node = waiting.pop()
            if node == self.source:
                return False
            for edge in self.following[node]:
                if edge not in removed and edge[0] not in entered:
                    entered.add(edge[0])
                    waiting.append(edge[0])
        return True

    def feeding(self, edges: Sequence[Numbered]) -> list[int]:
        """For each of these edges, which of them a path leads to from it, as bits by their place."""
        bits = dict[Numbered, int]()
        for place, edge in enumerate(edges):
            bits[edge] = bits.get(edge, 0) | 1 << place
        below: list[int] = []
        for following in self.following:
            reached = 0
            for edge in following:
                reached |= below[edge[0]] | bits.get(edge, 0)
            below.append(reached)
        return [below[node] for node, _ in edges]


class Paths:
    """The paths from the logits down to the input, counted exactly.

    Paths that end elsewhere (tensors of the model's own that record gradients) do not count.
    """

    def __init__(self, logits: Tensor, inputs: Tensor) -> None:
        root, source = edge_of(logits), edge_of(inputs)
        assert source is not None, "the input records gradients"
        self.total = 0
        self.graph = Graph([], (-1, 0), -1)
        self._number: dict[Node, int] = {}
        if root is None:
            return
        order = _from_the_input_on(root[0])
        self._number = {node: number for number, node in enumerate(order)}
        self._below: dict[Node, int] = {source[0]: 1}  # paths from a node to the input
        for node in order:
            if node is not source[0]:
                self._below[node] = sum(self._below.get(after, 0) for after, _ in node.next_functions)
        above: dict[Node, int] = {root[0]: 1}  # paths from the logits to a node
        self._into: dict[Edge, int] = {root: 1}  # and to one of its outputs
        for node in reversed(order):
            for after, output in node.next_functions if above.get(node) else ():
                if after is not None:
                    above[after] = above.get(after, 0) + above[node]
                    self._into[after, output] = self._into.get((after, output), 0) + above[node]
        self.total = self._below[root[0]]
        following = [
            [(self._number[after], output) for after, output in node.next_functions if after is not None]
            for node in order
        ]
        self.graph = Graph(following, (self._number[root[0]], root[1]), self._number.get(source[0], -1))

    def through(self, edge: Edge | None) -> int:
        """How many paths run through a tensor: all of them where it is a cut, none off the way."""
        if edge is None or not self.total:
            return 0
        return self._into.get(edge, 0) * self._below.get(edge[0], 0)

    def numbered(self, edge: Edge | None) -> Numbered | None:
        """The edge as ``graph`` has it; None where it is off the way."""
        return (self._number[edge[0]], edge[1]) if edge is not None and edge[0] in self._number else None


def _from_the_input_on(root: Node) -> list[Node]:
    """All nodes below ``root``, each behind those that it leads to."""
    order: list[Node] = []
    entered: set[Node] = {root}
    stack: list[tuple[Node, Any]] = [(root, iter(root.next_functions))]
    while stack:
        node, following = stack[-1]
        for after, _ in following:
            if after is not None and after not in entered:
                entered.add(after)
                stack.append((after, iter(after.next_functions)))
                break
        else:
            order.append(node)
            stack.pop()
    return order
