#!/usr/bin/env bash
# Measures on a GPU, in at most 8 minutes, what docs/benchmarks.md leaves open there. Prints JSON lines.
# Run it where starft is installed, at the top of the repository: bash benchmarks/on_gpu.sh > on_gpu.jsonl
# A part that fails or takes too long, as the plain step does where memory is short, prints a line of its own.
set -u
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD/src:$PWD${PYTHONPATH:+:$PYTHONPATH}"
PYTHON=${PYTHON:-python}
SIZE=(--model "${MODEL:-ViT-B-16}" --batch-size "${BATCH:-256}" --device "${DEVICE:-cuda}" --rounds "${ROUNDS:-3}")
BF16=(--precision bfloat16)

part() { # seconds, then a module and its options
    local seconds=$1 status
    shift
    timeout --kill-after=3 "$seconds" "$PYTHON" -m "$@"
    status=$?
    [ $status -eq 0 ] || printf '{"row": "failed", "command": "%s", "status": %d}\n' "$*" $status
}

# steps in bfloat16: ours, the plain way, plain fine-tuning; what compiling changes; the plain way in float32
part 80 benchmarks.step "${SIZE[@]}" "${BF16[@]}" --no-memory --rows plain_bf16 starft starft_ce ce flyp
part 75 benchmarks.step "${SIZE[@]}" "${BF16[@]}" --no-memory --rows starft flyp --compile
part 60 benchmarks.step "${SIZE[@]}" --no-memory --rows plain starft
# LoRA and frozen blocks: time and memory
part 90 benchmarks.adapters "${SIZE[@]}" "${BF16[@]}" --rounds 1 --freeze-image-blocks "${BLOCKS:-8}"
# images: read fast, and brought to the device as 8-bit levels
part 60 benchmarks.input --rounds 1 --images "${IMAGES:-64}" --rows 50 --files 50
part 30 benchmarks.transfer "${SIZE[@]}"

if [ "$(nvidia-smi -L 2> /dev/null | wc -l)" -ge 2 ]; then # gradients gathered by NCCL
    out=$(mktemp -d)
    start=$SECONDS
    timeout --kill-after=3 60 "$PYTHON" -m starft fit --config lightning_configs/mini/starft.yaml \
        --trainer.accelerator gpu --trainer.devices 2 --trainer.precision bf16-mixed --trainer.max_epochs 1 \
        --trainer.default_root_dir "$out/run" >&2
    printf '{"row": "nccl", "devices": 2, "status": %d, "seconds": %d}\n' $? $((SECONDS - start))
    rm -r "$out"
fi
