"""Draw the picture of the page that shows eyes: python docs/make_view_figure.py RUN [KEY]

RUN is the folder of a training, KEY one of its test eyes; without it the first one with a detachment of the
epithelium. The page is made as ``fund2oct view`` makes it, of the eye and of what the model draws for its
photo, and photographed by Chromium. Written is docs/images/view.webp.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from figure_files import IMAGES
from omegaconf import OmegaConf
from PIL import Image

from fund2oct.data import Eye, EyeReader, EyeWriter, FundusOCTDataModule
from fund2oct.eye import GENERATED
from fund2oct.models import load_model
from fund2oct.models.predicting.generate import generate
from fund2oct.models.thickness import predict_thickness, save_thickness
from fund2oct.viewer import write_page

sys.path.append(str(Path(__file__).parents[1] / "tests/viewer"))
from headless_chromium import Chromium  # it lies with the tests

_READY = "typeof eye === 'object' && eye && !waiting && byId('main').getAttribute('aria-busy') === 'false'"


def main(run: Path, key: str = "") -> None:
    """Make the page and its picture."""
    model = load_model(run / "checkpoints/last.ckpt")
    path = OmegaConf.load(run / "config.yaml").data.init_args.path
    keys = FundusOCTDataModule(path, volume_shape=model.shape).test_dataset.keys
    with EyeReader(path) as reader, TemporaryDirectory() as name:
        key = key or next(key for key in keys if reader.info(key).diagnosis == "PED")
        eye = reader.read(key)
        assert eye.fundus is not None and eye.scan is not None
        real, made = Path(name) / "real.h5", Path(name) / "pix2vol"
        made.mkdir()
        with EyeWriter(real) as writer:
            writer.add(eye)
        volume, pose_um = generate(model, eye.fundus, eye.scan, eye.placement, key)
        with EyeWriter(made / f"{key}.h5") as writer:
            writer.add(
                Eye(
                    key=key, patient=key, laterality=eye.laterality, diagnosis=eye.diagnosis,
                    fundus=eye.fundus, volume=volume, pose_um=pose_um, scan=eye.scan,
                    placement=eye.placement, spacing_mm=eye.spacing_mm, source=GENERATED,
                )
            )  # fmt: skip
        thickness = predict_thickness(model, eye.fundus, eye.placement, eye.scan)
        assert thickness is not None
        save_thickness(thickness, made / f"{key}.thickness.tif")
        page = Path(name) / "view.html"
        write_page([real, made], page)
        with Chromium(Path(name) / "profile", timeout_s=600) as browser:
            browser.open(f"file://{page}#eye={key}&slice=0&ascan={volume.shape[2] // 2}&map=median:pix2vol")
            browser.wait_for(_READY)
            browser.screenshot(Path(name) / "view.png")
        picture = Image.open(Path(name) / "view.png").convert("RGB")
    picture.save(IMAGES / "view.webp", "WEBP", method=6, quality=95, use_sharp_yuv=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])
