"""Options of `serctl bundle` and of `serctl serve`."""

from dataclasses import dataclass

from serctl.options.check import checked
from serctl.options.option import (
    abstain_option,
    checkpoints_option,
    device_option,
    option,
    prior_option,
    recogniser_option,
)


@checked("bundle")
@dataclass(frozen=True)
class BundleOptions:
    """Options of `serctl bundle make`."""

    name: str = option(
        "", "Name of the bundle, and of the stacker or run if neither is given.", argument=True
    )
    stacker: str = option("", "Stacker of the project, with its networks.")
    run: str = option("", "Run of the project, for a bundle of one network.")
    base: str = option(
        "",
        "Bundle to take networks and stacker from; calibrated and evaluated on this project.",
        metavar="DIR|hf:OWNER/NAME",
    )
    output: str = option("", "Folder to write.", short="-o", metavar="DIR")
    data: tuple[str, ...] = option(
        (),
        "Training corpus: a name that `serctl init` knows, or 'NAME: TERMS'.",
        shown="recorded by init",
    )
    license: str = option(
        "other", "Licence of the weights in the hub's spelling, such as cc-by-nc-4.0."
    )
    device: str = device_option()
    overwrite: bool = option(False, "Replace an existing bundle.")


@checked("push")
@dataclass(frozen=True)
class PushOptions:
    """Options of `serctl bundle push`."""

    repository: str = option(
        "",
        "Repository on the Hugging Face hub; created if it does not exist.",
        argument=True,
        required=True,
        metavar="OWNER/NAME",
    )
    folder: str = option("bundle", "Folder of the bundle.", argument=True, metavar="DIR")
    private: bool = option(False, "Create the repository as a private one.")
    revision: str = option("main", "Branch to push to; created if it does not exist.")


@checked("serve")
@dataclass(frozen=True)
class ServeOptions:
    """Options of `serctl serve`."""

    model: str = option(
        "",
        "Bundle (folder, or hf:OWNER/NAME@COMMIT), stacker or run.",
        argument=True,
        required=True,
    )
    host: str = option("127.0.0.1", "Address to listen on. 0.0.0.0 allows other machines.")
    port: int = option(7860, "Port to listen on; 0 chooses a free port.", min=0, max=65535)
    examples: str = option("", "Folder of recordings that the page offers.", metavar="DIR")
    max_megabytes: float = option(50.0, "Maximum size of a request.", above=0)
    max_seconds: float = option(600.0, "Maximum length of a recording.", above=0)
    waiting: int = option(64, "Maximum requests in the queue; more are refused.", min=1)
    recogniser: str = recogniser_option()
    prior: str = prior_option()
    abstain_below: float = abstain_option()
    weights: tuple[str, ...] = checkpoints_option()
    device: str = device_option()


@checked("space")
@dataclass(frozen=True)
class SpaceOptions:
    """Options of `serctl bundle space`."""

    output: str = option("", "Folder to write.", argument=True, required=True, metavar="DIR")
    bundle: str = option(
        "bundle", "Bundle of the Space: a folder that is copied, or hf:OWNER/NAME@COMMIT."
    )
    title: str = option("", "Title of the Space.", shown="the name of the bundle")
    overwrite: bool = option(False, "Replace an existing Space folder.")
