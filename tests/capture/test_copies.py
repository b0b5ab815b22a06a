"""Small tensors are copied and compared together; each is put back where it alone has changed."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camlucida.capture.copies import LARGE, copy_tensors

TENSORS: dict[str, Any] = {
    "float": lambda: torch.arange(6.0).view(2, 3),
    "double": lambda: torch.arange(6.0, dtype=torch.float64),
    "whole": lambda: torch.arange(4),
    "bool": lambda: torch.tensor([True, False]),
    "half": lambda: torch.ones(3, dtype=torch.bfloat16),
    "complex": lambda: torch.ones(3, dtype=torch.complex64),
    "bytes": lambda: torch.ones(3, dtype=torch.uint8),
    "scalar": lambda: torch.tensor(3.0),
    "transposed": lambda: torch.arange(6.0).view(2, 3).T,
    "every other": lambda: torch.arange(8.0)[::2],
    "repeated": lambda: torch.ones(1).expand(4),
    "empty": lambda: torch.empty(0, 3),
    "large": lambda: torch.zeros(LARGE // 4 + 1),
}
WRITTEN = [name for name in TENSORS if name not in ("empty", "repeated")]


def write(tensor: Tensor) -> None:
    tensor.copy_(tensor.logical_not() if tensor.dtype is torch.bool else tensor + 1)


def put_back(copies: Any) -> None:
    unchanged = copies.unchanged()
    for copy in copies.copies:
        copy.put_back(id(copy) in unchanged)


@pytest.mark.parametrize("changed", WRITTEN)
@pytest.mark.parametrize("through_data", [False, True])
def test_the_one_that_changed_is_put_back_and_no_other_is_touched(changed: str, through_data: bool) -> None:
    tensors = {name: make() for name, make in TENSORS.items()}
    before = {name: one.clone() for name, one in tensors.items()}
    copies = copy_tensors(list(tensors.values()))
    assert len(copies.copies) == len(tensors)
    versions = {name: one._version for name, one in tensors.items()}
    write(tensors[changed].data if through_data else tensors[changed])
    put_back(copies)
    for name, one in tensors.items():
        assert torch.equal(one, before[name]), name
        if name != changed:
            assert one._version == versions[name]


def test_nothing_is_written_where_nothing_changed() -> None:
    tensors = [make() for make in TENSORS.values()]
    copies = copy_tensors(tensors)
    small = [copy for members, _ in copies.groups for copy in members]
    assert copies.unchanged() == {id(copy) for copy in small}
    assert len(copies.groups) == 5
    put_back(copies)
    assert all(
        one._version == copy.version for one, copy in zip(tensors, map(_of(copies), tensors), strict=True)
    )


def _of(copies: Any) -> Any:
    return lambda tensor: next(copy for copy in copies.copies if copy.tensor is tensor)


def test_values_of_another_storage_and_size_come_back() -> None:
    replaced, resized, other = torch.ones(3), torch.ones(3), torch.ones(3)
    copies = copy_tensors([replaced, resized, other])
    replaced.data = torch.zeros(5)
    resized.resize_(7)
    other.zero_()
    put_back(copies)
    assert [one.tolist() for one in (replaced, resized, other)] == [[1, 1, 1]] * 3


def test_not_a_number_is_no_change() -> None:
    tensor = torch.tensor([float("nan"), 1.0])
    copies = copy_tensors([tensor, torch.ones(2)])
    put_back(copies)
    assert tensor.isnan().tolist() == [True, False]


def test_parameters_of_a_kind_of_their_own_are_copied_by_themselves() -> None:
    class Own(nn.Parameter):
        pass

    copies = copy_tensors([Own(torch.ones(2)), nn.Parameter(torch.ones(2)), nn.Buffer(torch.ones(2))])
    assert [len(members) for members, _ in copies.groups] == [2]
