#!/bin/bash
# All that a GPU has to show, in about twenty minutes on a machine with 16 cores:
#
#   benchmarks/gpu.sh [suite] [steps] [loader] [training]
#
# suite     the tests
# steps     a training step of 6x320x448, the same compiled, and one of 64x320x448 in bf16, as shares of the peak
# loader    what the loader takes of a training step
# training  `aptos2024` on simulated eyes at full size, with its report
#
# Without a word all four run, one after the other; one that fails does not stop the others. Results go to $OUT
# (runs/gpu). Settings: PYTHON, the interpreter; MINUTES, of the training (10); SMALL=1, the same on a CPU in small,
# to try the script. Nothing is fetched from a network.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
PYTHON=${PYTHON:-python}
OUT=${OUT:-runs/gpu}
MINUTES=${MINUTES:-10}
CORES=$(nproc)
PATIENCE=1
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
mkdir -p "$OUT"
failed=()

if [ -n "${SMALL:-}" ]; then
  PATIENCE=10  # of a machine that does other things too
  tests=(tests/models/training/test_on_a_device.py)
  first=(--shape 6 32 48 --batch-size 2 --steps 1 --accelerator cpu --models pix2vol)
  compiled=()  # takes minutes on a CPU
  second=(--shape 9 32 48 --batch-size 1 --steps 1 --accelerator cpu --models pix2vol)
  loader=(trainer.accelerator=cpu --steps 2 --experiments pix2vol)
  eyes=(--eyes 16 --shape 32 48 --fundus-px 48)
  training=('model.init_args.shape=[6,32,48]' model.init_args.encoder=own 'model.init_args.texture=[8,8]'
    model.init_args.feature_width=0 data.init_args.batch_size=2 data.init_args.test_fraction=0.3
    trainer.accelerator=cpu trainer.devices=1)
  length=(trainer.max_steps=2)
else
  tests=(-n auto --dist worksteal -v -rf)  # the names of what fails, also where the time is up
  first=(--shape 6 320 448 --fundus-px 448 --batch-size 8 --steps 20 --accelerator gpu --precision bf16)
  compiled=(--compile --models pix2vol)
  second=(--shape 64 320 448 --fundus-px 448 --batch-size 1 --steps 6 --accelerator gpu --precision bf16 --models pix2vol)
  loader=(trainer.precision=bf16-mixed data.init_args.num_workers=8 --steps 24 --experiments aptos2024)
  eyes=(--eyes 240 --shape 320 448 --fundus-px 448 --workers "$CORES")
  training=(trainer.precision=bf16-mixed data.init_args.num_workers=8)
  length=(trainer.max_epochs=-1 "trainer.max_time=00:00:$(printf %02d "$MINUTES"):00")
fi

# Runs a command of at most so many seconds, and keeps what it says.
part() {
  local name=$1 limit_s=$2 began=$SECONDS
  shift 2
  echo "== $name"
  timeout $((PATIENCE * limit_s)) "$@" 2>&1 | tee "$OUT/$name.log"
  local status=$?
  echo "== $name: status $status, $((SECONDS - began)) s"
  [ $status -eq 0 ] || failed+=("$name")
}

suite() {
  OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE part suite 300 "$PYTHON" -m pytest "${tests[@]}"
}

steps() {
  part steps-6 120 "$PYTHON" benchmarks/step.py "${first[@]}"
  part steps-compiled 150 "$PYTHON" benchmarks/step.py "${first[@]}" "${compiled[@]}"
  part steps-64 120 "$PYTHON" benchmarks/step.py "${second[@]}"
}

loader() {
  part loader 180 "$PYTHON" benchmarks/loader.py "${loader[@]}" --parts training
}

training() {
  part eyes 180 "$PYTHON" -m fund2oct simulate "$OUT/eyes.h5" --overwrite "${eyes[@]}"
  part training $((60 * MINUTES + 240)) "$PYTHON" -m fund2oct train aptos2024 --out "$OUT/training" --overwrite \
    "data.init_args.path=$OUT/eyes.h5" "${length[@]}" "${training[@]}" \
    trainer.limit_val_batches=0 trainer.enable_progress_bar=false \
    'trainer.callbacks=[{class_path: fund2oct.callbacks.PanelCallback, init_args: {n_eyes: 0}}]'
  [ ! -f "$OUT/training/report/report.md" ] || cp "$OUT/training/report/report.md" "$OUT/training.md"
}

"$PYTHON" -c 'import torch
print("torch", torch.__version__, *map(torch.cuda.get_device_name, range(torch.cuda.device_count())))'
for name in "${@:-suite}"; do
  case $name in
    suite | steps | loader | training) ;;
    *) echo "$name: expected suite, steps, loader or training" >&2; exit 2 ;;
  esac
done
if [ $# -eq 0 ]; then set -- suite steps loader training; fi
# What is trained for want of weights is another model: that is no figure of this one.
case "${SMALL:-} $* " in
  " "*steps* | " "*training*)
    for name in efficientnet_lite0 efficientnet_lite1; do
      "$PYTHON" -m fund2oct weights path "$name" >/dev/null || exit 1
    done ;;
esac
for name in "$@"; do "$name"; done
echo "failed: ${failed[*]:-nothing}"
[ ${#failed[@]} -eq 0 ]
