#!/usr/bin/env bash
# The commands of docs/quickstart.md, one after the other, in a new folder: examples/quickstart.sh [FOLDER]
set -euo pipefail
mkdir -p "${1:-quickstart}"
cd "${1:-quickstart}"

serctl init --corpus demo --root corpus
serctl manifest stats
serctl transcribe --keep-frames
serctl extract --encoder minilm --encoder egemaps
serctl train --speech whisper-tiny --text minilm --recipe demo --name two-branches
serctl train --speech whisper-tiny --text minilm --paralinguistic egemaps --loss wce+sml --recipe demo --name three-branches
serctl export-logits two-branches
serctl export-logits three-branches
serctl stack
serctl evaluate
serctl report
serctl evaluate two-branches three-branches
serctl bundle make random-forest --output bundle
serctl predict corpus/audio/demo_test01_390.flac --model bundle
