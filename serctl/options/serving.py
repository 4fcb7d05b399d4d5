"""Options of `serctl serve` and of `serctl bundle space`."""

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
