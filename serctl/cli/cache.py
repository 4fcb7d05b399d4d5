"""`serctl cache ls | info | verify | prune | rm | pack | unpack`."""

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serctl.cli import console
from serctl.cli.options import JsonOpt, ProjectOpt
from serctl.cli.signature import take_option
from serctl.config import open_workspace
from serctl.errors import first_few
from serctl.options import ExtractOptions
from serctl.options.idle import refuse_idle

if TYPE_CHECKING:
    from serctl.cache.describe import StoreSummary
    from serctl.stages.cache import VerifyResult

cache = typer.Typer(no_args_is_help=True, help="Manage the cache of frames.")

NameArg = Annotated[str, typer.Argument(help="Encoder, or encoder@digest of one store.")]
NamesArg = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME", help="Encoders, or encoder@digest of one store.", show_default="all stores"
    ),
]
DryRunOpt = Annotated[
    bool, typer.Option("--dry-run", help="Print the changes without making them.")
]
YesOpt = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


@cache.command("ls")
def ls(project: ProjectOpt = None, as_json: JsonOpt = False) -> None:
    """List the stores with size, age and coverage of the manifest."""
    from serctl.stages.cache import cache_ls

    summaries = cache_ls(open_workspace(project))
    columns = ["store", "layer", "storage", "utterances", "frames", "size", "written", "manifest"]
    rows = [
        [
            item.name,
            str(item.key.layer),
            item.key.storage,
            f"{item.utterances:,}",
            f"{item.frames:,}",
            _show_bytes(item.bytes),
            _show_age(item.written),
            _show_coverage(item),
        ]
        for item in summaries
    ]
    text = console.table("", columns, rows) if rows else "The cache holds no store."
    console.show(summaries, text, as_json=as_json)
    if not summaries:
        console.hint("serctl extract --encoder NAME")


@cache.command("info")
def info(name: NameArg, project: ProjectOpt = None, as_json: JsonOpt = False) -> None:
    """Show the content and origin of a store, and how to open it in Python."""
    from serctl.stages.cache import cache_info

    summary = cache_info(open_workspace(project), name)
    console.show(summary, _describe(summary), as_json=as_json)


@cache.command("verify")
def verify(
    names: NamesArg = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Restore files from their copies, and extract lost frames again."
        ),
    ] = False,
    device: take_option(ExtractOptions, "device") = None,  # type: ignore[valid-type]
    project: ProjectOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Read every byte and compare checksums. Exit 3 if anything is damaged and not repaired."""
    from serctl.stages.cache import cache_verify

    if not repair:
        refuse_idle({"--device": device}, "without --repair", "nothing is extracted again")
    results = cache_verify(
        open_workspace(project),
        names or (),
        repair=repair,
        device=device or "auto",
        progress=console.progress,
    )
    text = "\n".join(map(_describe_check, results)) or "The cache holds no store."
    console.show(results, text, as_json=as_json)
    if not all(result.whole for result in results):
        console.hint("serctl cache verify --repair")
        raise typer.Exit(3)


@cache.command("prune")
def prune(
    names: NamesArg = None,
    unlisted: Annotated[
        bool, typer.Option("--unlisted", help="Also drop utterances that are not in the manifest.")
    ] = False,
    dry_run: DryRunOpt = False,
    yes: YesOpt = False,
    project: ProjectOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Free the space of replaced frames and merge small segments."""
    from serctl.stages.cache import cache_prune

    workspace = open_workspace(project)
    if unlisted and not dry_run and not yes:
        planned = cache_prune(workspace, names or (), unlisted=True, dry_run=True)
        if count := sum(len(item.dropped) for item in planned):
            typer.confirm(f"Delete the frames of {count:,} utterances?", abort=True)
    results = cache_prune(workspace, names or (), unlisted=unlisted, dry_run=dry_run)
    would = "would be " if dry_run else ""
    lines = [
        f"{item.store}: {len(item.segments)} segments {would}rewritten, {len(item.dropped):,} "
        f"utterances {would}dropped, {_show_bytes(item.dead_bytes)} {would}freed"
        for item in results
    ]
    console.show(results, "\n".join(lines), as_json=as_json)


@cache.command("rm")
def rm(
    names: Annotated[list[str], typer.Argument(help="Encoders, or encoder@digest.")],
    dry_run: DryRunOpt = False,
    yes: YesOpt = False,
    project: ProjectOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Delete stores after confirmation."""
    from serctl.cache.describe import remove_abandoned
    from serctl.stages.cache import cache_rm

    workspace = open_workspace(project)
    if not dry_run:  # a killed `rm` may have left its files only
        remove_abandoned(workspace.cache)
    sizes = cache_rm(workspace, names, dry_run=True)
    listed = ", ".join(f"{name} ({_show_bytes(size)})" for name, size in sizes.items())
    if not dry_run:
        if not yes:
            typer.confirm(f"Delete {listed}?", abort=True)
        cache_rm(workspace, names)
    text = f"{'Would delete' if dry_run else 'Deleted'} {listed}"
    console.show({"dry_run": dry_run, "stores": sizes}, text, as_json=as_json)


@cache.command("pack")
def pack(
    name: NameArg,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Archive (default: STORE.tar here).")
    ] = None,
    project: ProjectOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Write one store to one archive file."""
    from serctl.stages.cache import cache_pack

    path = cache_pack(open_workspace(project), name, output, progress=console.progress)
    size = path.stat().st_size
    document = {"archive": path, "bytes": size}
    console.show(document, f"{path}: {_show_bytes(size)}", as_json=as_json)
    if not as_json:
        console.hint(f"serctl cache unpack {shlex.quote(str(path))}")


@cache.command("unpack")
def unpack(
    archive: Annotated[Path, typer.Argument(help="Archive written by `serctl cache pack`.")],
    project: ProjectOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Check an archive and add its store to the cache."""
    from serctl.stages.cache import cache_unpack

    path = cache_unpack(open_workspace(project), archive, progress=console.progress)
    console.show({"store": path}, str(path), as_json=as_json)


def _describe(item: "StoreSummary") -> str:
    coverage = ", ".join(f"{s} {have:,} of {all_:,}" for s, (have, all_) in item.coverage.items())
    rate = f"{item.frame_rate:g} Hz" if item.frame_rate else "one frame per token"
    facts = {
        "store": item.path,
        **item.key.to_dict(),
        "frames": f"{item.frames:,} of {item.dim} values, {rate}",
        "utterances": f"{item.utterances:,} in {item.segments} segments",
        "size": _show_bytes(item.bytes),
        "coverage": coverage or "no manifest",
        "created": item.created,
        "written": _show_age(item.written),
        "versions": ", ".join(f"{name} {version}" for name, version in item.versions.items()),
    }
    lines = [f"{name:14}{value}" for name, value in facts.items()]
    return "\n".join(
        [
            *lines,
            "",
            "from serctl.cache.store import FeatureStore",
            f"store = FeatureStore.open({str(item.path)!r})",
            "frames = store.read(store.ids[0])  # (T, D)",
        ]
    )


def _describe_check(result: "VerifyResult") -> str:
    found = result.found
    lines = [f"  {item.file}: {item.reason}" for item in found.damages]
    if found.lost and not result.whole:
        lines.append(f"  lost, extract again: {first_few(found.lost)}")
    if result.restored:
        lines.append(f"  restored from the other copy: {', '.join(result.restored)}")
    if result.extracted:
        lines.append(f"  extracted again: {first_few(result.extracted)}")
    if result.unlisted:
        lines.append(f"  lost and not in the manifest: {first_few(result.unlisted)}")
    verdict = "repaired" if found.damages and result.whole else "damaged" if lines else "whole"
    size = _show_bytes(found.bytes_read)
    head = f"{found.store}: {verdict} ({found.utterances:,} utterances, {size})"
    return "\n".join([head, *lines])


def _show_bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.2f} GB"


def _show_age(moment: float) -> str:
    seconds = max(0.0, time.time() - moment)
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"


def _show_coverage(item: "StoreSummary") -> str:
    have = sum(stored for stored, _ in item.coverage.values())
    total = sum(count for _, count in item.coverage.values())
    return f"{have / total:.1%}" if total else ""
