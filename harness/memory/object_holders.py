"""Who keeps an object alive: the first attribute, module variable or function on the way up from it."""

from __future__ import annotations

import collections
import functools
import gc
import sys
import types
from typing import Any, Dict, List, Mapping, Optional, Set

from harness.memory.object_sizes import own_dict

MAX_HOLDERS = 2000
"""Objects that a search looks at before it gives up."""

_CONTAINERS = (list, tuple, set, frozenset, collections.deque, types.CellType, types.MethodType)
_FUNCTIONS = (types.FunctionType, functools._lru_cache_wrapper)


def holder_of(value: Any) -> str:
    """Return the holder of an object as `Class.attribute`, `module.name` or a function; "" if there is none.

    The search goes up layer by layer: from the object to everything that refers to it, from there to everything that
    refers to that. It passes through containers and ends at the first object that has a name for what it holds. Frames
    do not count, since a local variable is not a leak.

    Args:
      value: the object.
    """
    layer: List[Any] = [value]
    leads_to: Dict[int, Any] = {id(value): None}  # id of each object seen, and the object through which it was found
    while layer and len(leads_to) < MAX_HOLDERS:
        next_layer: List[Any] = []
        ids = {id(each) for each in layer}
        for holder in gc.get_referrers(*layer):
            of_this_search = id(holder) in leads_to or holder is layer or holder is leads_to
            if of_this_search or isinstance(holder, types.FrameType):
                continue
            held = _first_among(gc.get_referents(holder), ids)
            name = _name_within(holder, held, leads_to.get(id(held)))
            if name:
                return name
            leads_to[id(holder)] = held
            next_layer.append(holder)
        layer = next_layer
    return ""


def _first_among(values: List[Any], ids: Set[int]) -> Any:
    """Return the first of the values whose id is among the ids; None if there is none."""
    for value in values:
        if id(value) in ids:
            return value
    return None


def _name_within(holder: Any, held: Any, below: Any) -> Optional[str]:
    """Return the name under which a holder keeps an object; None for a plain container, or an object of this package.

    Args:
      holder: refers to `held`.
      held: the object.
      below: the object that `held` leads to; an instance refers to its attributes through its dict.
    """
    if isinstance(holder, dict):
        module_name = holder.get("__name__")
        is_module = own_dict(sys.modules.get(str(module_name))) is holder
        return f"{module_name}.{_key_of(holder, held)}" if is_module else None
    named = holder if isinstance(holder, (type, *_FUNCTIONS)) else type(holder)
    if isinstance(holder, _CONTAINERS) or (named.__module__ or "").startswith(__package__):
        return None
    if isinstance(holder, _FUNCTIONS):
        return f"{named.__module__}.{named.__qualname__}"
    attributes: Mapping[str, Any] = own_dict(holder) or {}
    if isinstance(holder, type):
        attributes = vars(holder)
    name = _key_of(attributes, held) or _key_of(attributes, below)
    if not name:
        return None
    return f"{named.__qualname__}.{name}"


def _key_of(names: Mapping[str, Any], value: Any) -> str:
    """Return the first name under which a mapping holds an object; "" if there is none."""
    for name, held in list(names.items()):
        if held is value:
            return str(name)
    return ""
