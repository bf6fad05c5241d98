#!/bin/sh
# The comparison of docs/performance.md on a CUDA machine, within ten minutes; figures go to $OUT (by default ./gpu).
# Without a GPU, DEVICE=cpu runs the same at a size that only shows that nothing is broken.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python}
DEVICE=${DEVICE:-cuda}
OUT=${OUT:-gpu}
mkdir -p "$OUT"
if [ "$DEVICE" = cuda ]; then
    "$PYTHON" -c "import torch; assert torch.cuda.is_available(), 'no CUDA device: run with DEVICE=cpu to try the script'"
    SIZE="--rounds 8 --steps 50 --workers 8"
    COMPILE=--compile
else
    SIZE="--rounds 1 --steps 1 --batch 4"
    COMPILE=
fi
# Small images: launches limit; the larger batch shows what the device can do.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
for BATCH in ${BATCHES:-128 1024}; do
    # shellcheck disable=SC2086
    "$PYTHON" -m benchmarks.speed --device "$DEVICE" --images random --batch "$BATCH" $SIZE $COMPILE \
        --out "$OUT/speed-$BATCH.json"
done
echo "wrote $OUT"
