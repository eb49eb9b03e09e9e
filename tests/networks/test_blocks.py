"""Parts that all networks are built of."""

from fund2oct.networks.blocks import norm


def test_groups_divide_any_width():
    groups = {4: 1, 8: 1, 16: 2, 50: 5, 53: 1, 60: 6, 96: 12, 100: 10, 128: 16}
    assert {width: norm(width).num_groups for width in groups} == groups
