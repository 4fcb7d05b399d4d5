"""`serctl cache ls | info | verify | prune | rm | pack | unpack`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serctl.cli import console
from serctl.cli.options import JsonOpt, ProjectOpt
from serctl.cli.signature import take_option
from serctl.config import Workspace, open_workspace
from serctl.errors import MissingFeaturesError, UnknownNameError, UsageError, first_few
from serctl.options import ExtractOptions

if TYPE_CHECKING:
    from serctl.cache.describe import StoreSummary
    from serctl.cache.locate import StoreInfo
    from serctl.stages.cache import VerifyResult

cache = typer.Typer(no_args_is_help=True, help="Look after the cache of frames.")

NameArg = Annotated[str, typer.Argument(help="Encoder, or encoder@digest of one store.")]
NamesArg = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", help="Default: all stores.")
]
DryRunOpt = Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")]
YesOpt = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@cache.command("ls")
def ls(project: ProjectOpt = None, as_json: JsonOpt = False) -> None:
    """List the stores: size, age, and how much of the manifest they hold."""
    from serctl.cache.describe import summarise_store

    workspace = open_workspace(project)
    splits = _read_splits(workspace)
    summaries = [summarise_store(info, splits) for info in _find(workspace, None)]
    columns = ["store", "layer", "storage", "utterances", "frames", "size", "written", "manifest"]
    rows = [
        [
            item.name,
            str(item.key["layer"]),
            str(item.key["storage"]),
            f"{item.utterances:,}",
            f"{item.frames:,}",
            _show_bytes(item.bytes),
            _show_age(item.written),
            _show_coverage(item),
        ]
        for item in summaries
    ]
    console.show(summaries, console.table("", columns, rows), as_json=as_json)
    if not summaries:
        console.hint("serctl extract --encoder NAME")


@cache.command("info")
def info(name: NameArg, project: ProjectOpt = None, as_json: JsonOpt = False) -> None:
    """Show what a store holds, what made it, and how to open it in Python."""
    from serctl.cache.describe import summarise_store

    workspace = open_workspace(project)
    (found,) = _find(workspace, [name])
    summary = summarise_store(found, _read_splits(workspace))
    console.show(summary, _describe(summary), as_json=as_json)


@cache.command("verify")
def verify(
    names: NamesArg = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Restore what can be, extract the rest again.")
    ] = False,
    device: take_option(ExtractOptions, "device") = None,  # type: ignore[valid-type]
    project: ProjectOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Read every byte and compare checksums. Exit 3 if anything is damaged and not repaired."""
    from serctl.stages.cache import verify_cache

    workspace = open_workspace(project)
    results = verify_cache(
        workspace,
        _find(workspace, names),
        repair=repair,
        device=device or "auto",
        progress=console.progress,
    )
    console.show(results, "\n".join(map(_describe_check, results)), as_json=as_json)
    if not all(result.whole for result in results):
        console.hint("serctl cache verify --repair")
        raise typer.Exit(3)


@cache.command("prune")
def prune(
    names: NamesArg = None,
    unlisted: Annotated[
        bool, typer.Option("--unlisted", help="Also drop utterances the manifest does not list.")
    ] = False,
    dry_run: DryRunOpt = False,
    yes: YesOpt = False,
    project: ProjectOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Give back the space of replaced frames and merge small segments."""
    from serctl.cache.compact import prune_store
    from serctl.cache.describe import remove_abandoned
    from serctl.cache.store import FeatureStore

    workspace = open_workspace(project)
    if not dry_run:
        remove_abandoned(workspace.cache)
    found = _find(workspace, names)
    listed = set(_read_splits(workspace))
    if unlisted and not listed:
        raise UsageError("--unlisted needs the manifest, and there is none to read.")
    drop = {
        item.path: [name for name in FeatureStore.open(item.path).ids if name not in listed]
        if unlisted
        else []
        for item in found
    }
    count = sum(map(len, drop.values()))
    if count and not dry_run and not yes:
        typer.confirm(f"Delete the frames of {count:,} utterances?", abort=True)
    results = [prune_store(path, drop=ids, dry_run=dry_run) for path, ids in drop.items()]
    would = "would be " if dry_run else ""
    lines = [
        f"{item.store}: {len(item.segments)} segments {would}rewritten, {len(item.dropped):,} "
        f"utterances {would}dropped, {_show_bytes(item.dead_bytes)} {would}given back"
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
    """Delete stores, having asked."""
    from serctl.cache.describe import remove_abandoned, remove_store, summarise_size

    workspace = open_workspace(project)
    if not dry_run:
        remove_abandoned(workspace.cache)
    paths = {name: workspace.cache / f"{name}.zarr" for name in names}  # damaged beyond its name
    paths = {
        name: path if path.is_dir() else _find(workspace, [name])[0].path
        for name, path in paths.items()
    }
    sizes = {path.stem: summarise_size(path) for path in paths.values()}
    told = ", ".join(f"{name} ({_show_bytes(size)})" for name, size in sizes.items())
    if not dry_run:
        if not yes:
            typer.confirm(f"Delete {told}?", abort=True)
        for path in paths.values():
            remove_store(path)
    text = f"{'Would delete' if dry_run else 'Deleted'} {told}"
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
    """Write one store to one archive for a colleague."""
    from serctl.cache.archive import pack_store

    (found,) = _find(open_workspace(project), [name])
    output = output or Path(f"{found.path.stem}.tar")
    size = pack_store(found.path, output, progress=console.progress)
    document = {"archive": output, "bytes": size}
    console.show(document, f"{output}: {_show_bytes(size)}", as_json=as_json)
    if not as_json:
        console.hint(f"serctl cache unpack {output}")


@cache.command("unpack")
def unpack(
    archive: Annotated[Path, typer.Argument(help="What `serctl cache pack` wrote.")],
    project: ProjectOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Check an archive and take its store into the cache."""
    from serctl.cache.archive import unpack_store

    workspace = open_workspace(project)
    workspace.cache.mkdir(parents=True, exist_ok=True)
    path = unpack_store(archive, workspace.cache, progress=console.progress)
    console.show({"store": path}, str(path), as_json=as_json)


def _find(workspace: Workspace, names: list[str] | None) -> list["StoreInfo"]:
    """Return the stores of some names, or all of them.

    Raises:
        UnknownNameError: There is no store of a name.
    """
    from serctl.cache.locate import find_store, list_stores
    from serctl.encoders.catalog import ALIASES, ENCODERS

    by_path = {item.path: item for item in list_stores(workspace.cache)}
    if not names:
        return list(by_path.values())
    parts = [name.partition("@") for name in names]
    full = [f"{ALIASES.get(encoder, encoder)}{at}{digest}" for encoder, at, digest in parts]
    found = []
    for name in full:
        try:
            found.append(by_path[find_store(workspace.cache, name)])
        except MissingFeaturesError:
            known = {one for item in by_path.values() for one in (item.key.encoder, item.name)}
            encoder = name if name in ENCODERS else "NAME"
            make = f"Make one with: serctl extract --encoder {encoder}"
            raise UnknownNameError("store", name, known, make) from None
    return found


def _read_splits(workspace: Workspace) -> dict[str, str]:
    """Return the split of every utterance; nothing if the project has no manifest yet."""
    from serctl.data.manifest import read_manifest

    if not workspace.manifest.exists():
        return {}
    return {row.utterance_id: row.split for row in read_manifest(workspace.manifest)}


def _describe(item: "StoreSummary") -> str:
    coverage = ", ".join(f"{s} {have:,} of {all_:,}" for s, (have, all_) in item.coverage.items())
    rate = f"{item.frame_rate:g} Hz" if item.frame_rate else "one frame a token"
    facts = {
        "store": item.path,
        **item.key,
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
        lines.append(f"  to be extracted again: {first_few(found.lost)}")
    if result.restored:
        lines.append(f"  restored from the other copy: {', '.join(result.restored)}")
    if result.extracted:
        lines.append(f"  extracted again: {first_few(result.extracted)}")
    if result.unlisted:
        lines.append(f"  gone, and not in the manifest: {first_few(result.unlisted)}")
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
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"


def _show_coverage(item: "StoreSummary") -> str:
    have = sum(stored for stored, _ in item.coverage.values())
    total = sum(count for _, count in item.coverage.values())
    return f"{have / total:.1%}" if total else ""
