"""What `serctl run` says beforehand."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile
from synthetic_frames import make_utterances

from serctl.data.manifest import write_manifest
from serctl.options import TrainOptions
from serctl.pipeline import Recipe

HEAVY = ("torch", "transformers", "sklearn", "xgboost", "zarr")


def test_a_dry_run_imports_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "serctl.toml").write_text("")
    rows = make_utterances(4, folder=tmp_path)
    write_manifest(tmp_path / "manifest.csv", rows)
    for row in rows[1:]:  # a file that is not there does not hinder a plan
        soundfile.write(row.path, np.full(1600, 0.1), 16_000)
    code = (
        "import sys; from serctl.cli import app\n"
        f"try: app(['run', 'small', '--dry-run', '-C', {str(tmp_path)!r}])\n"
        "except SystemExit: pass\n"
        f"print('heavy:', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "4 models" in done.stdout
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_an_encoder_of_two_names_is_extracted_once() -> None:
    models = (TrainOptions(speech=("whisper",)), TrainOptions(speech=("whisper-large-v3",)))
    assert Recipe("mine", "", "", models, Path()).encoders == ("whisper-large-v3",)
