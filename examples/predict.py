"""Judge recordings from Python: `python examples/predict.py BUNDLE AUDIO...`.

A bundle is what `serctl bundle make` wrote; the name of a run or stacker of a project works too.
"""

import sys

import soundfile

import serctl


def main(bundle: str, *audio: str) -> None:
    """Load once; then files, arrays and batches."""
    # Emotions as frequent as in dev; prior="balanced" or a file of shares are others, and
    # abstain_below=0.5 names no emotion that is less probable than that.
    model = serctl.load(bundle, prior="natural", device="cpu")
    print(f"{model.parts.name} knows {', '.join(model.labels)}")

    for found in model.predict_batch(audio):
        print(f"{found.audio}: {found.emotion} ({found.confidence:.2f})")

    # An array, here of both channels at the file's own rate.
    samples, rate = soundfile.read(audio[0], always_2d=True)
    found = model.predict(samples, sample_rate=rate)
    print({name: round(share, 3) for name, share in found.probabilities.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
