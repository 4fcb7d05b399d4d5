"""Web page to try a model: record or upload audio; see emotion, timeline and model card."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serctl.data.downmix import PREDICT_CHANNELS, DownmixReport
from serctl.errors import SerctlError
from serctl.page.timeline import make_figure
from serctl.system.card import write_card
from serctl.system.loading import split_recording
from serctl.system.prediction import Prediction
from serctl.system.timeline import TimelineSettings, predict_timeline
from serctl.web.limits import Limits
from serctl.web.worker import Worker

if TYPE_CHECKING:
    import gradio

FONTS = ("system-ui", "Segoe UI", "Roboto", "Noto Sans", "DejaVu Sans", "sans-serif")
"""Fonts of the reader's machine. Gradio's default fonts are fetched from Google."""
MONO = ("ui-monospace", "DejaVu Sans Mono", "monospace")
LAW = (
    "The emotion is what raters would hear, not what the speaker feels. Regulation (EU) 2024/1689 "
    "(AI Act), Article 5(1)(f), prohibits inferring emotions of people at work and in education, "
    "except for medical or safety reasons."
)
SETTINGS = TimelineSettings()
EXAMPLES_SHOWN = 6
CSS = """
.gradio-container { max-width: min(1100px, 100%) !important; margin: 0 auto !important; }
.gradio-container main, .gradio-container .column { min-width: 0 !important; }
#emotion * { font-family: inherit; }
#emotion .bar { height: .5rem; font-size: 0; }
#transcript { padding: .5rem 1rem; max-height: 22rem; overflow-y: auto; }
#transcript { border: 1px solid var(--border-color-primary); border-radius: 4px; }
#transcript { background: var(--block-background-fill); }
#transcript p { margin: .2rem 0; }
#transcript code { font-size: .8rem; opacity: .7; background: none; border: 0; padding: 0; }
#card table { display: block; overflow-x: auto; white-space: nowrap; }
#law { opacity: .75; font-size: .85rem; }
.modebar, footer { display: none !important; }
@media (max-width: 40rem) {
    .gradio-container .main { padding: .5rem .75rem !important; }
    .gradio-container .row > .column { flex-basis: 100% !important; }
}
"""
READ_SCHEME = "(file) => [file, document.body.classList.contains('dark') ? 'dark' : 'light']"
"""Runs in the browser before a prediction, because a figure cannot change its colours later."""
NAME_SERVER = "(text) => text.replaceAll('ADDRESS', location.origin)"
"""Runs in the browser, which knows the address of the server."""
CALLS = """\
The same predictions over HTTP, for a recording of up to {limits.seconds:g} s and \
{limits.megabytes:g} MB:

```bash
curl -F file=@a.wav ADDRESS/predict
curl --data-binary @a.wav "ADDRESS/predict?every=1&window=4"    # over time
curl ADDRESS/health
```

```python
import json
from pathlib import Path
from urllib.request import urlopen

with urlopen("ADDRESS/predict", Path("a.wav").read_bytes()) as response:
    print(json.load(response)["predictions"][0]["emotion"])
```

An error is a status of 400, 413 (too large) or 503 (busy) with `{{"error": "..."}}`.
"""


def make_page(worker: Worker, limits: Limits, examples: Sequence[Path]) -> Any:
    """Return the Gradio page of a worker. It contacts no other host.

    Args:
        worker: Worker with the loaded system.
        limits: Limits of a recording.
        examples: Recordings that the page offers.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import gradio as gr

    parts = worker.predictor.parts

    def predict(path: str | None, scheme: str) -> tuple[Any, ...]:
        if path is None:
            raise gr.Error("Record something, or choose a file.", print_exception=False)
        try:
            return show_recording(worker, limits, Path(path), scheme)
        except SerctlError as error:
            raise gr.Error(str(error), print_exception=False) from None

    with gr.Blocks(
        title=f"serctl: {parts.name}", analytics_enabled=False, delete_cache=(600, 600)
    ) as page:
        gr.Markdown(f"# {parts.name}\nSpeech emotion recognition: {', '.join(parts.labels)}.")
        with gr.Tab("Predict"):
            with gr.Row():
                with gr.Column():
                    audio, button = _place_inputs(examples)
                with gr.Column():
                    emotion = gr.Label(label="Emotion", elem_id="emotion")
            scheme = gr.Textbox("light", visible=False)
            course = gr.Plot(show_label=False, elem_id="course", visible=False)
            transcript = gr.Markdown(elem_id="transcript", visible=False)
        if parts.bundle is not None:
            with gr.Tab("Model card"):
                gr.Markdown(write_card(parts.bundle.document), elem_id="card")
        with gr.Tab("API"):
            calls = gr.Markdown(CALLS.format(limits=limits))
        page.load(None, [calls], [calls], js=NAME_SERVER)
        gr.Markdown(LAW, elem_id="law")
        button.click(
            predict,
            [audio, scheme],
            [emotion, course, transcript],
            js=READ_SCHEME,
            api_visibility="private",
            concurrency_limit=8,
        )
    return page


def _place_inputs(examples: Sequence[Path]) -> tuple["gradio.Audio", "gradio.Button"]:
    """Place recorder, button and examples in the open column of a page."""
    import gradio as gr

    audio = gr.Audio(
        sources=["upload", "microphone"],
        type="filepath",
        label="Recording",
        buttons=[],  # the default has a button to share audio on Hugging Face
    )
    button = gr.Button("Predict", variant="primary", elem_id="predict")
    if examples:
        shown = [[str(path)] for path in examples[:EXAMPLES_SHOWN]]
        gr.Examples(shown, [audio], cache_examples=False)
    return audio, button


def mount_page(app: Any, page: "gradio.Blocks", limits: Limits) -> Any:
    """Return an application with the page at its root."""
    import gradio as gr

    theme = gr.themes.Default(
        primary_hue="blue", neutral_hue="slate", font=list(FONTS), font_mono=list(MONO)
    )
    return gr.mount_gradio_app(
        app,
        page,
        path="/",
        app_kwargs={"exception_handlers": app.exception_handlers},  # it serves all other paths
        theme=theme,
        head=f"<style>{CSS}</style>",  # as ``css``, Gradio would rewrite the selectors
        max_file_size=limits.num_bytes,
        ssr_mode=False,
        show_error=True,
        footer_links=[],
    )


def show_recording(worker: Worker, limits: Limits, path: Path, scheme: str) -> tuple[Any, ...]:
    """Return the page's content for a file: probabilities, timeline, and transcript if any.

    Raises:
        SerctlError: The file cannot be predicted.
    """
    import gradio as gr

    report = DownmixReport()
    waveform = limits.decode(path.read_bytes(), path.name, report)
    utterances = split_recording(path.name, waveform, worker.predictor.options)
    found = worker.predict(utterances)
    made = worker.run(
        lambda it: predict_timeline(
            it, waveform, SETTINGS, name=path.name, predicted=utterances, decoded=True
        )
    )
    label = "Emotion" if len(found) == 1 else f"Emotion, mean of {len(found)} segments"
    shares = average(found)
    threshold = worker.predictor.options.abstain_below
    if max(shares.values()) < threshold:
        label += f": none reaches {threshold:g} (--abstain-below)"
    lines = [escape_markdown(note) for note in report.list_notes(PREDICT_CHANNELS)]
    text = "\n\n".join([*lines, *(write_line(one) for one in found if one.text)])
    return (
        gr.Label(shares, label=label),
        gr.Plot(make_figure(made, scheme), visible=True),
        gr.Markdown(text, visible=bool(text)),
    )


def write_line(prediction: Prediction) -> str:
    """Return the start time and transcript of a segment as escaped Markdown."""
    minutes, seconds = divmod(int(prediction.start), 60)
    return f"`{minutes}:{seconds:02d}` {escape_markdown(prediction.text or '')}"


def escape_markdown(text: str) -> str:
    """Return text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~$&.-])", r"\\\1", text)


def average(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return the mean probabilities of a recording's segments, weighted by length."""
    total = sum(one.end - one.start for one in predictions)
    return {
        label: sum(one.probabilities[label] * (one.end - one.start) for one in predictions) / total
        for label in predictions[0].probabilities
    }
