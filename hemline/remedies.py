"""What the command line advises for each remedy that an error names.

Library code raises errors with facts; only this table and the command modules know flags and
commands. A template is filled in with the remedy's facts; paths are quoted for a shell.
"""

from __future__ import annotations

from hemline.errors import HemlineError, Remedy

# name: what to do, after "error: <message>; "
REMEDIES: dict[str, str] = {
    "name a board": "or name a board of yours with `hemline device add {device} ssh:user@host`",
    "name a fleet": "write its boards as {file} with `hemline device add NAME ssh:user@host "
    "--file {file}`",
    "add device": "add it with `hemline device add`",
    "bench": "run `hemline bench {bundle}` first",
    "choose on device": "choose it with `hemline choose {bundle} --device {device}`",
    "bench on device": "run `hemline bench {bundle} --device {device}` first",
    "profile": "run `hemline bench BUNDLE --profile`",
    "device with fallback": "--fallback goes with --device gpu",
    "device with runtimes": "--runtime needs --device local",
    "export": "run `hemline export` first",
    "name or export": "name one, or make one with `hemline export`",
    "name or train": "name one, or make one with `hemline train`",
    "diagnose": "see which layers of the 8-bit file lose accuracy with `hemline diagnose {bundle}`",
    "smaller file": "4-bit weights make smaller files (--scheme int4-weights); below these, only a "
    "smaller model helps",
    "faster model": "accept a longer time, or use a smaller model",
    "replace or move": "replace it with --force, or name another folder with --output",
    "replace": "replace it with --force",
    "another study": "use another --output",
    "replace checkpoint": "use --force or another --output",
    "no flips": "use --no-flip",
    "name checkpoint": "if you have a checkpoint, name it with --checkpoint FOLDER",
    "images of a file": "--data, --images and --expected are for a file",
    "other device": "name another --device",
    "name your images": "name yours with --data",
    "same search": "give the same options, another --output, or --restart to forget it",
    "finish or replace": "run that command again, or replace it with --force",
    "restart": "start over with --restart",
    "finish or restart": "finish that one, or start over with --restart",
    "own validation": "omit --validation",
    "name a teacher": "omit it, or name one with --teacher",
    "name teachers": "name all with --teacher, or train without: `hemline recipe {folder} > "
    "mine.toml`, then `hemline train {model} --recipe mine.toml`",
    "same split": "train it with the same --validation and --limit",
    "smaller training": "use a smaller --batch, --width or --resize",
    "diverged": "start over with --restart and a lower --learning-rate; the weights of epoch "
    "{epoch} stay in {folder} until then",
    "weights elsewhere": "download {url} on another machine and name the file (--weights {file}), "
    "or train from random weights (--weights random)",
    "verify elsewhere": "run `hemline verify {bundle}` where it is installed, or name an artifact",
    "name strangers": "or name a folder or an .npz of images",
    "name the data": "name its folder or .npz file with --data",
    "name other data": "name other data with --data",
    "other classes": "name other data with --data, or of an imported model other labels with "
    "--labels",
    "name the data or take test": "name the data it was trained on with --data, or use --split "
    "test",
    "compare on test": "compare them with --split test, or evaluate them one by one",
    "other microcontroller": "TensorFlow Lite Micro may run it: see `hemline bench "
    "{bundle} --device tflm`",
    "unknown by score": "export it with --unknown score",
    "export with embedding": "export it with --with-embedding",
    "index": "make one with `hemline index`",
    "index with it": "name that one, or index the images with this one",
    "index pictures": "index the images themselves, not their scores",
    "score with embedding": "score the images again with --with-embedding",
    "raw frames": "raw pixels need --raw",
    "other output folder": "name another folder with -o",
    "export again": "run `hemline export` again",
    "add runtime": "run `hemline runtimes add {name}`",
    "add runtime again": "run `hemline runtimes add {name} --python PYTHON`",
    "name version": "or name a version that was added (see `hemline runtimes list`)",
    "list runtimes": "see `hemline runtimes list`",
    "other python": "choose --python {python}",
    "cache folder": "set XDG_CACHE_HOME to a folder, or name one that has the data with --data",
    "config folder": "set XDG_CONFIG_HOME to a folder, or name the file with --file",
    "put named data": "put its four IDX files into a folder and name it with "
    "--data {dataset}=FOLDER",
    "put data": "put its four IDX files into a folder and name it with --data or HEMLINE_DATA",
    "class names": "name its classes with --labels if it is another data set",
    "other data set": "name another folder, or {title} with --dataset {dataset} (if the command "
    "has that option)",
    "image size": "for example --image-size 64",
    "smaller images": "choose a smaller --image-size, or fewer images",
    "skip broken": "repair or remove them, or skip them with --skip-broken",
    "no labels": "omit --labels",
    "other runtime": "name another --runtime",
    "add again": "run `hemline runtimes remove {target}`, then add it again",
    "pixel range": "specify it with --pixels 0..255, 0..1 or -1..1, or with --mean and --std",
    "doubtful use": "check --pixels, --channel-order and the order of --labels",
    "range and labels": "specify --pixels {pixels} --labels {labels}",
    "all classes": "name the folder with a folder for each class: --data {folder}",
    "this pixel range": "specify --pixels {pixels}",
    "other pixel range": "specify another one with --pixels",
    "are probabilities": "specify --output probabilities",
    "channel order": "specify --channel-order {order}",
    "mean and std": "specify --mean {mean} --std {std} --channel-order {order}",
    "label order": "specify --labels {labels}",
    "softmax twice": "convert the model again without its last softmax: its labels are correct, "
    "but its scores are not",
    "kind of output": "specify --output logits or --output probabilities",
    "images and classes": "give both --images and --expected",
    "other output": "remove it, or name another file with -o",
    "admit": "copy it again if it is truncated; admit a foreign file with `hemline verify {path} "
    "--labels LABELS`",
    "train anew": "train again with --train",
    "without embedding": "export it without --with-embedding",
    "same images": "name them with --data, or another folder with -o",
    "name images": "name yours with --data, or generate some with --calibrator synthetic",
    "name the images": "name its folder or .npz with --data",
    "name the right images": "name the right {what} with --data",
    "read as trained": "omit --image-size and --channels",
    "measure again": "delete {path}, then verify and bench again",
    "other folder on device": "choose another folder with `hemline device add … --folder`",
    "other python on device": "name one with `hemline device add … --python`",
    "records damaged": "delete the records file, then verify and bench again",
    "remove device": "run `hemline device remove {device}` first",
    "from pytorch": "export the model to ONNX with torch.onnx.export and import that file",
    "trust the file": "if you trust its author, allow that with --trust",
    "without custom objects": "save it without them, or export it to ONNX where their code is",
    "save the whole model": "save the whole model with model.save",
    "admit quantized": "run `hemline verify` on it, or import the float model it was made from",
    "weights beside": "copy that file into the model's folder",
    "image size of model": "specify the size with --size HxW",
    "one image set": "bench all files with one labelled set (--data {bundle} uses the test images "
    "of that bundle); for a bundle with other images, name copies of its files",
    "verify": "run `hemline verify {bundle}` first",
    "name source": "name the float model it was made from with --source",
    "calibrate on the same": "export again with images preprocessed like those in use (--data)",
    "calibrate again": "export again with images like those in use (--data)",
    "calibrator percentile": "export again with --calibrator percentile",
    "calibrator mse": "export again with --calibrator mse",
    "leave out images": "remove these images from the training part of --data",
    "equalize": "export again with --equalization",
    "float layers": "keep these layers in float: `hemline export --scheme int8-mixed`",
    "scheme": "export it with --scheme {scheme}",
    "more bits": "export again with --scheme int8",
    "gate reference": "bench that file with both, name another cell with --reference, or name two "
    "bundles, which are then measured",
    "verify formats": "run `hemline verify` on the bundle, and ship the format that agrees",
    "ray address": "start one there with `ray start --head`, or use --ray without an address for "
    "this machine",
    "other port": "name another with --port or --host",
    "export reference": "export it again; a model of yours needs --data IMAGES",
    "pack": "its README.md says how it is tested there; check its signature with `hemline verify "
    "{pack} --key KEY`",
    "monitor": "name the folder of --monitor, of `hemline classify` or `hemline serve`",
    "verify there": "run `hemline verify {bundle}` first, with the same --runtime if any",
}


def described(error: HemlineError) -> str:
    """Return an error's message with what to do now."""
    if error.remedy is None:
        return str(error)
    message = str(error)
    gap = " " if message.endswith("?") else "\n" if "\n" in message else "; "
    return f"{message}{gap}{advice(error.remedy)}"


def advice(remedy: Remedy) -> str:
    """Return what the command line advises."""
    import shlex  # here, because few processes ever need it

    facts = {key: shlex.quote(str(value)) for key, value in remedy.facts.items()}
    return REMEDIES[remedy.name].format_map(facts)
