"""Trainings of tiny networks on a few small views: seconds each."""
import asset3d


def settings(cache, **more) -> dict:
    return {"train.train.data": {"objects": 12, "views": 4, "size": 32, "cache": str(cache)}, "batch": 8,
            "train.validate_every": 20, **more}


def autoencoder_options(cache) -> dict:
    return settings(cache, steps=40, **{"train.train.channels": [8, 16, 16], "train.train.width": 24})


def zero123(cache, autoencoder, **more) -> dict:
    return settings(cache, autoencoder=str(autoencoder), **{
        "steps": 30, "train.train.channels": [16, 32], "train.train.sampling_steps": 2, "train.learning_rate": 0.004,
        "train.warm_up": 0, **more})


def tensors_of(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def stopped_and_resumed(recipe, folder, step, options) -> dict[str, bytes]:
    with asset3d.Run(recipe, folder, **options) as run:
        for state in run:
            if state.step == step:
                break
    asset3d.Run.resume(folder).result
    return tensors_of(folder / "result" / "model")
