"""The pipeline in Python, in a project folder such as that of examples/quickstart.sh.

Every stage is a function of the same name with an options class. Finished steps are not repeated.
"""

import serctl

SPEECH, TEXT = "whisper-tiny", "minilm"


def main() -> None:
    """Encode, train, stack, evaluate and predict; then read frames from the cache."""
    workspace = serctl.open_workspace()  # finds serctl.toml here or in a parent folder
    stores = {
        encoder: serctl.extract(workspace, serctl.ExtractOptions(encoder=encoder)).store
        for encoder in (SPEECH, TEXT)
    }

    # Order of precedence, as on the command line: these values, recipe, serctl.toml, defaults.
    options = serctl.resolve_options(
        serctl.TrainOptions,
        "train",
        workspace,
        recipe="demo",
        speech=(SPEECH,),
        text=(TEXT,),
        name="from-python",
    )
    (run,) = serctl.train(workspace, options).runs
    print(f"{run.name}: dev macro-F1 {run.summary.metrics['dev_macro_f1']:.3f}")

    serctl.export_logits(workspace, serctl.ExportLogitsOptions(run=run.name))
    stacker = serctl.stack(workspace, serctl.StackOptions(models=(run.name,), name="calibrated"))
    result = serctl.evaluate(workspace, serctl.EvaluateOptions(systems=(run.name, stacker.name)))
    for row in result.table:
        print(f"{row.name:<30} {row.macro_f1:.3f}")

    options = serctl.BundleOptions(stacker=stacker.name, output="own.bundle", overwrite=True)
    model = serctl.load(serctl.make_bundle(workspace, options).folder)
    manifest = serctl.read_manifest(workspace.manifest)
    store = serctl.FeatureStore.open(stores[SPEECH])
    first = manifest.ids[0]
    prediction = model.predict(manifest.select("test").utterances[0].path)
    print(f"{prediction.audio}: {prediction.emotion} ({prediction.confidence:.2f})")
    print(f"transcript: {prediction.text!r}")
    print(
        f"{first}: {store.read(first).shape} frames of {store.key.encoder}, {store.frame_rate} Hz"
    )


if __name__ == "__main__":
    main()
