from pathlib import Path

import pytest

from fund2oct.networks.features import I3D, OCT3D


@pytest.fixture(scope="session")
def i3d(need_weights) -> I3D:
    need_weights("i3d")
    return I3D()


@pytest.fixture(scope="session")
def oct3d_file(real_data: Path) -> Path:
    file = real_data.parent / "weights" / "ibm_oct3dcnn_best_weights.h5"
    if not file.is_file():
        pytest.skip(f"no weights of oct3d at {file}")
    return file


@pytest.fixture(scope="session")
def oct3d(oct3d_file: Path) -> OCT3D:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUND2OCT_WEIGHTS", str(oct3d_file.parent))
        return OCT3D()
