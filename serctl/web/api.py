"""HTTP API: audio in, JSON out. An error is a status code and one line."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from serctl import __version__
from serctl.data.audio import SAMPLE_RATE
from serctl.data.downmix import PREDICT_CHANNELS, DownmixReport
from serctl.errors import SerctlError, UsageError
from serctl.system.loading import split_recording
from serctl.system.timeline import TimelineSettings, list_setting_notes, predict_timeline
from serctl.timeline.formats import to_dict
from serctl.web.limits import Limits, TooLargeError
from serctl.web.worker import BusyError, Worker

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response

STATUS: dict[type[Exception], int] = {TooLargeError: 413, BusyError: 503}
"""Status codes of errors. Any other `SerctlError` has 400."""
ROUTES = "GET /health and POST /predict"
SETTINGS = ("every", "window", "smooth", "shortest")
"""Query parameters in seconds. With ``every`` the response is a timeline."""


def make_api(worker: Worker, limits: Limits) -> "FastAPI":
    """Return an application with ``GET /health`` and ``POST /predict``."""
    from fastapi import FastAPI
    from fastapi.exceptions import RequestValidationError
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect
    from starlette.responses import JSONResponse

    async def health(request: "Request") -> "Response":
        return JSONResponse(describe_worker(worker))

    async def predict(request: "Request") -> "Response":
        content, name = await read_upload(request)
        settings = read_query(request.query_params.multi_items())
        found = await run_in_threadpool(answer, worker, limits, content, name, settings)
        return JSONResponse(found)

    async def explain(request: "Request", error: Exception) -> "Response":
        return JSONResponse({"error": str(error)}, STATUS.get(type(error), 400))

    async def forget(request: "Request", error: Exception) -> "Response":
        return JSONResponse({"error": "The upload ended early."}, 400)  # nobody reads it

    async def explain_status(request: "Request", error: Any) -> "Response":
        return refuse(request, error.detail, error.status_code)

    async def explain_form(request: "Request", error: Any) -> "Response":
        return refuse(request, "The request lacks a value or has a wrong one", 422)

    async def explain_fault(request: "Request", error: Exception) -> "Response":
        return refuse(request, f"Internal error: {type(error).__name__}", 500)

    def refuse(request: "Request", detail: Any, status: int) -> "Response":
        text = (
            f"{request.method} {request.url.path}: {str(detail).rstrip('.')}. The API has {ROUTES}."
        )
        return JSONResponse({"error": text, "detail": detail}, status)  # the page reads the detail

    app = FastAPI(openapi_url=None)
    app.add_route("/health", health)
    app.add_route("/predict", predict, methods=["POST"])
    app.add_exception_handler(SerctlError, explain)
    app.add_exception_handler(ClientDisconnect, forget)
    app.add_exception_handler(HTTPException, explain_status)
    app.add_exception_handler(RequestValidationError, explain_form)  # of the page's routes
    app.add_exception_handler(Exception, explain_fault)
    return app


def describe_worker(worker: Worker) -> dict[str, Any]:
    """Return the status, the system and its labels, and the number of waiting requests."""
    return {
        "status": "ok",
        "model": worker.predictor.parts.name,
        "labels": list(worker.predictor.labels),
        "serctl": __version__,
        "waiting": worker.waiting,
    }


async def read_upload(request: "Request") -> tuple[bytes, str]:
    """Return audio and file name of a request, from the form field ``file`` or the body.

    Raises:
        UsageError: The form is malformed, has no such file, or has settings.
    """
    from starlette.exceptions import HTTPException

    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        return await request.body(), "audio"
    try:
        form = await request.form(max_files=1, max_fields=8)
    except HTTPException as error:
        raise UsageError(f"The form cannot be read: {error.detail}") from None
    file = form.get("file")
    if file is None or isinstance(file, str):
        raise UsageError("The form has no file. Send it as: curl -F file=@a.wav")
    if settings := [name for name in SETTINGS if name in form]:
        raise UsageError(
            f"The form has a field '{settings[0]}', expected it in the address: "
            f"/predict?{settings[0]}=1"
        )
    # The name is used only in messages. It is not a path of this machine.
    return await file.read(), PurePath(file.filename or "audio").name


def read_query(items: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the query parameters by name.

    Raises:
        UsageError: A parameter is given twice.
    """
    names = [name for name, _ in items]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"The parameter '{twice[0]}' is given twice. Give it once.")
    return dict(items)


def answer(
    worker: Worker, limits: Limits, content: bytes, name: str, query: Mapping[str, str]
) -> dict[str, Any]:
    """Return the predictions of a recording, or its timeline if ``every`` is given.

    Raises:
        SerctlError: The content is not audio, too long, or holds no speech.
    """
    settings = read_settings(query)
    report = DownmixReport()
    waveform = limits.decode(content, name, report)
    about: dict[str, Any] = {
        "model": worker.predictor.parts.name,
        "seconds": round(len(waveform) / SAMPLE_RATE, 3),
        "notes": report.list_notes(PREDICT_CHANNELS),
    }
    if settings is not None:
        made = worker.run(
            lambda it: predict_timeline(it, waveform, settings, name=name, decoded=True)
        )
        about["notes"] += list_setting_notes(worker.predictor, settings)
        return about | to_dict(made)
    found = worker.predict(split_recording(name, waveform, worker.predictor.options))
    return about | {"predictions": [one.to_dict() for one in found]}


def read_settings(query: Mapping[str, str]) -> TimelineSettings | None:
    """Return the settings of a timeline from the query; None if it has none.

    Raises:
        UsageError: A parameter is unknown or not a number.
    """
    if unknown := [name for name in query if name not in SETTINGS]:
        raise UsageError(f"Unknown parameter '{unknown[0]}'. Known: {', '.join(SETTINGS)}.")
    values = {}
    for name, text in query.items():
        try:
            values[name] = float(text)
        except ValueError:
            raise UsageError(f"{name} is '{text}', expected a number of seconds.") from None
        if not 0 <= values[name] <= 3600:
            raise UsageError(f"{name} is '{text}', expected 0 to 3600 seconds.")
    if values and "every" not in values:
        raise UsageError(f"{next(iter(values))} needs a timeline. Add: every=1")
    return replace(TimelineSettings(), **values) if values else None  # type: ignore[arg-type]
