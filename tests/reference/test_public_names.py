"""The public names are as agreed."""

import importlib

import pytest
from public_names import PUBLIC, TOP


@pytest.mark.parametrize("module", sorted(PUBLIC))
def test_the_public_names_are_these(module):
    loaded = importlib.import_module(module)
    assert set(loaded.__all__) == PUBLIC[module]
    assert all(hasattr(loaded, name) for name in PUBLIC[module])


def test_what_a_notebook_wants_is_at_the_top():
    fund2oct = importlib.import_module("fund2oct")
    assert set(fund2oct.__all__) == TOP | {"__version__"} == set(dir(fund2oct))
    for name in TOP:
        # As typed, so as lazily imported: the stub of a type checker says the same.
        found = getattr(fund2oct, name)
        assert found.__name__ == {"evaluate": "evaluate_checkpoints"}.get(name, name)
    assert fund2oct.load_model is importlib.import_module("fund2oct.models").load_model
    with pytest.raises(AttributeError, match="'fund2oct' has no attribute 'pix2vol'"):
        _ = fund2oct.pix2vol
