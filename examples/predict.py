"""Predict recordings from Python: `python examples/predict.py BUNDLE AUDIO...`.

BUNDLE is a folder that `serctl bundle make` wrote, or the name of a run or stacker of a project.
"""

import sys

import soundfile

import serctl


def main(bundle: str, *audio: str) -> None:
    """Load a system once, then predict files and an array."""
    # The class prior is that of dev; prior="balanced" is uniform. With abstain_below=0.5, a
    # recording gets no label if the highest probability is below 0.5.
    model = serctl.load(bundle, prior="natural", device="cpu")
    print(f"{model.parts.name} predicts {', '.join(model.labels)}")

    for prediction in model.predict_batch(audio):
        print(f"{prediction.audio}: {prediction.emotion} ({prediction.confidence:.2f})")

    # An array, here with all channels at the sample rate of the file.
    samples, rate = soundfile.read(audio[0], always_2d=True)
    prediction = model.predict(samples, sample_rate=rate)
    print({name: round(value, 3) for name, value in prediction.probabilities.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
