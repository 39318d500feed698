"""A graphics card by appearance: for tests where there is none.

Inside `StandIn()` tensors that were moved to "cuda" compute on the processor, but say that they lie on a card, and what
a card refuses is refused: an operation between a tensor there and one here, and numpy's look at one there. Where a
tensor lies is written on its storage, so that views, typed tensors and parameters know it too.
"""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

CARD = torch.device("cuda", 0)
COPIES, PICKS = ("aten.copy_", "aten._to_copy"), ("aten.index.", "aten.index_put", "aten._index_put")
"""Operations that a card takes with tensors from here: copies, and what is picked there by indices from here."""


def on_card(tensor) -> bool:
    return getattr(tensor.untyped_storage(), "on_card", False)


def _placed(result, there: bool):
    def place(tensor):
        if on_card(tensor) != there:
            tensor.untyped_storage().on_card = there
        return tensor

    return tree_map_only(torch.Tensor, place, result)


class _Operations(TorchDispatchMode):
    """Every operation of torch's C++: what it makes lies where its inputs lie."""

    inside = False  # a call that a tensor on the card began: what C++ makes on its way lies there too

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        there = any(map(on_card, tensors))
        picks = str(operation).startswith(PICKS) and on_card(args[0])
        checked = tree_leaves((args[0], args[2:])) if picks else tensors
        strays = [one for one in checked if isinstance(one, torch.Tensor) and one.dim() and not on_card(one)]
        if there and strays and not str(operation).startswith(COPIES):
            raise RuntimeError(f"{operation} of the card and a tensor {tuple(strays[0].shape)} on the processor")
        if str(operation).startswith("aten.copy_"):
            there = on_card(args[0])
        found = operation(*args, **(kwargs or {}))
        return _placed(found, True) if there or (self.inside and not tensors) else found


class StandIn(TorchFunctionMode):
    """Every call of torch's Python: where tensors are said to lie, moved, and made."""

    def __enter__(self):
        self.operations = _Operations()
        self.operations.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.operations.__exit__(*error)

    def __torch_function__(self, call, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), getattr(call, "__name__", "")
        there = any(on_card(one) for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor))
        if call == torch.Tensor.device.__get__:
            return CARD if there else call(*args)
        if call == torch.Tensor.is_cuda.__get__:
            return there
        if there and name in ("numpy", "__array__"):
            raise TypeError("can't convert cuda:0 device type tensor to numpy: it was not fetched")
        if call in (torch.Tensor.to, torch.Tensor.cpu, torch.Tensor.cuda):
            return self._moved(call, args, kwargs)
        made_there = name != "_parse_to" and torch.device(kwargs.get("device") or "cpu").type == "cuda"
        if made_there:
            kwargs["device"] = "cpu"
        before, self.operations.inside = self.operations.inside, there or made_there or self.operations.inside
        try:
            found = call(*args, **kwargs)
            return _placed(found, True) if made_there else found
        finally:
            self.operations.inside = before

    def _moved(self, call, args, kwargs):
        tensor, *rest = args
        there = on_card(tensor)
        wanted = [one for one in (*rest, *kwargs.values()) if isinstance(one, torch.device | str | torch.Tensor)]
        towards = there
        if call is not torch.Tensor.to or wanted:
            to = wanted[0] if wanted else call.__name__
            towards = on_card(to) if isinstance(to, torch.Tensor) else torch.device(to).type == "cuda"
        here = [torch.device("cpu") if isinstance(one, torch.device | str) else one for one in rest]
        kwargs = {key: "cpu" if key == "device" else value for key, value in kwargs.items()}
        found = tensor.to(*here, **kwargs) if call is torch.Tensor.to else tensor
        if towards == there:
            return found
        moved = found.clone() if found.untyped_storage() is tensor.untyped_storage() else found
        return _placed(moved, towards)
