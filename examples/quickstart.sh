#!/usr/bin/env bash
# The commands of docs/quickstart.md, one after the other, in a new folder: examples/quickstart.sh [FOLDER]
set -euo pipefail
mkdir -p "${1:-quickstart}"
cd "${1:-quickstart}"

serctl init --corpus demo --root corpus
serctl manifest stats
serctl transcribe --keep-frames
serctl extract --encoder minilm --encoder egemaps
serctl train --speech whisper-tiny --text minilm --recipe demo --name words
serctl train --speech whisper-tiny --text minilm --paralinguistic egemaps --loss wce+sml --recipe demo --name words-and-voice
serctl export-logits words
serctl export-logits words-and-voice
serctl stack
serctl evaluate
serctl report
serctl evaluate words words-and-voice
serctl bundle make random-forest --output bundle
serctl predict corpus/audio/demo_test01_390.flac --model bundle
