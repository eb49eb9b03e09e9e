"""Files of models in which any text is put in the place of any other."""


def strings(node, place=()):
    """The place of each text in nested dictionaries and lists; of a list the first entry stands for all."""
    if isinstance(node, str):
        yield place
    elif isinstance(node, dict):
        for key, child in node.items():
            if place != ("state_dict",):
                yield from strings(child, (*place, key))
    elif isinstance(node, (list, tuple)):
        for number, child in enumerate(node[:1]):
            yield from strings(child, (*place, number))


def put(node, place, value):
    """A copy with a value in a place."""
    key, *rest = place
    new = put(node[key], rest, value) if rest else value
    changed = list(node) if isinstance(node, (list, tuple)) else dict(node)
    changed[key] = new
    return type(node)(changed) if isinstance(node, tuple) else changed
