"""`aei train`."""

from __future__ import annotations

from pathlib import Path

import click

from . import output

FOLDER = click.Path(file_okay=False, path_type=Path)

# name: (type, one sentence). Defaults live in aei.codec.training.config and may come from --config.
KNOBS: dict[str, tuple] = {
    "steps": (int, "Steps in all; resuming with more extends a run."),
    "batch": (int, "Images per step: larger batches give steadier, fewer steps per pixel."),
    "patch": (int, "Side of a training crop in pixels, a multiple of 128 (aei)."),
    "loss": (
        str,
        "Distortion to minimise: mse, rmse, l1, bce, ms-ssim, ssimulacra2, butteraugli, or a sum "
        "like 0.8*mse+0.2*l1.",
    ),
    "lmbda": (
        float,
        "Lagrangian weight of the distortion against bits; 0 trains every quality at once (aei).",
    ),
    "optimiser": (
        click.Choice(["sgd", "adam", "adamw", "soap", "muon"]),
        "How gradients become steps.",
    ),
    "lr": (float, "Peak learning rate: too high diverges, too low never arrives."),
    "momentum": (float, "Momentum of sgd: the share of the last step that is kept."),
    "precondition_every": (int, "Steps between renewals of soap's eigenbases."),
    "precondition_limit": (int, "Longest side of a matrix that soap has an eigenbasis for."),
    "schedule": (click.Choice(["constant", "decay", "cosine"]), "Course of the learning rate."),
    "warmup": (int, "Steps in which the learning rate rises from zero."),
    "decay": (float, "Share of the steps at the end in which schedule `decay` falls to 1 %."),
    "l1": (float, "Weight of the sum of absolute weights in the loss: drives weights to zero."),
    "l2": (float, "Weight decay: keeps weights small, against overfitting."),
    "clip": (float, "Largest gradient norm; longer gradients are shortened to it."),
    "ema": (float, "Decay of the weight average that is validated and exported; 0 for none."),
    "image_steps": (
        float,
        "Share of the steps at the start that look at the image only, not at its coding "
        "(--restore).",
    ),
    "balance": (float, "How much low rates count: 0 plain loss, 0.5 every quality alike (aei)."),
    "rounding": (
        float,
        "Choose symbols while training as the encoder does, a squared step being worth so many "
        "bits (14 does well); 0 rounds to the nearest (aei).",
    ),
    "trellis": (
        bool,
        "Quantise along the trellis that export adds while training, too (aei, with --rounding).",
    ),
    "augment": (bool, "Mirror (and turn) training images at random."),
    "graphics": (
        float,
        "Share of the crops that is synthetic graphics (text, plots, interfaces); 0 for "
        "photographs alone (aei).",
    ),
    "bf16": (
        bool,
        "Compute in bfloat16 where that is safe: about twice as fast on GPUs and CPUs that have "
        "it.  [default: where the device has it]",
    ),
    "quantise_prior": (
        bool,
        "Quantisation-aware training of the prior: int16 activations in the loop (aei).",
    ),
    "freeze_prior": (
        bool,
        "Train g_a and g_s only: files keep their meaning (aei, with --init-from); see export "
        "--keep-prior.",
    ),
    "hold_out": (
        float,
        "Share of the training images, drawn by --seed, to validate on; 0 takes the data's own "
        "held-out images.",
    ),
    "patience": (int, "Stop after so many validations without a better held-out loss; 0 never."),
    "validate_every": (int, "Steps between validations on the held-out images."),
    "checkpoint_every": (int, "Steps between checkpoints."),
    "seed": (int, "Seed of everything random."),
    "threads": (int, "CPU threads."),
    "device": (
        click.Choice(["auto", "cpu", "cuda", "mps"]),
        "Where to compute; auto takes a GPU if there is one.",
    ),
}


def _knobs(function):
    for name, (kind, sentence) in reversed(KNOBS.items()):
        flag = name.replace("_", "-")
        declaration = f"--{flag}/--no-{flag}" if kind is bool else f"--{flag}"
        function = click.option(
            declaration, name, default=None, type=None if kind is bool else kind, help=sentence
        )(function)
    return function


@click.command("train")
@click.option(
    "--arch",
    type=click.Choice(["aei", "cae"]),
    help="aei, the codec (default), or cae, the convolutional autoencoder for 32x32 images.",
)
@click.option(
    "--restore",
    "kind",
    metavar="KIND",
    help="Train a network that takes something out of images before they are coded, in front of "
    "the model of --init-from: denoise, deblock, deblur, low-light, contrast, colour or haze.",
)
@click.option(
    "--data",
    required=True,
    help="Folder of photographs, every 50th of them held out; for the cae cifar10 "
    "($AEI_DATA/cifar10), a folder with CIFAR-10, or any folder of images.",
)
@click.option(
    "--out", required=True, type=FOLDER, help="Folder for the checkpoint, the config and the logs."
)
@click.option(
    "--config",
    "toml",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file with [train] and [network] tables; options override it.",
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --out.")
@click.option(
    "--init-from",
    metavar="BUNDLE",
    help="Transfer learning: start from the weights of a bundle, `shipped` being the package's "
    "own.",
)
@click.option(
    "--restorer-from",
    metavar="BUNDLE",
    type=click.Path(exists=True, path_type=Path),
    help="Start from the weights of a restoring bundle, of this kind or another (--restore).",
)
@click.option(
    "--epochs", type=int, help="Passes over the training images, instead of --steps (cae)."
)
@click.option(
    "--width",
    type=int,
    help="Channels: of the first layer (cae), at 1/16 resolution (aei), or at 1/4 (--restore).",
)
@click.option(
    "--depth",
    type=int,
    help="Extra convolutions per stage (cae), blocks at 1/16 resolution (aei), or per stage "
    "(--restore). More than a bundle has make the network of --init-from deeper (aei).",
)
@click.option(
    "--quantise/--no-quantise",
    default=None,
    help="Code the latents, or train the plain autoencoder (cae).",
)
@click.option(
    "--tensorboard",
    is_flag=True,
    help="Write TensorBoard logs too (needs the tensorboard package).",
)
@_knobs
def command(
    arch: str | None,
    kind: str | None,
    data: str,
    out: Path,
    toml: Path | None,
    resume: bool,
    init_from: str | None,
    restorer_from: Path | None,
    epochs: int | None,
    width: int | None,
    depth: int | None,
    quantise: bool | None,
    tensorboard: bool,
    **knobs,
) -> None:
    """Train a model. Stops cleanly on Ctrl-C; --resume goes on exactly where it was.

    \b
    Examples:
      aei train --data photos/ --out run/
      aei train --data photos/ --out run/ --resume --steps 20000
      aei train --data scans/ --out run/ --init-from shipped --lr 2e-3 --steps 2000
      aei train --arch cae --data cifar10 --epochs 50 --out cae/
      aei train --restore denoise --init-from my.bundle --data photos/ --out denoise/
      aei plot run/
    """
    from ..formats import AeiError

    if resume and init_from:
        raise click.UsageError(
            "--resume goes on from --out, --init-from starts anew: give one of them"
        )
    if kind is not None and (arch is not None or not (resume or init_from)):
        raise click.UsageError("--restore needs the model to train in front of: --init-from BUNDLE")
    if restorer_from is not None and (kind is None or resume):
        raise click.UsageError("--restorer-from starts a run with --restore")
    if resume and not (out / "last.pt").is_file():
        raise AeiError(f"{out}/last.pt: no checkpoint to resume from")
    if not resume and (out / "last.pt").exists():
        raise AeiError(f"{out}/last.pt exists: use --resume to go on, or another --out")
    from ..codec.training.config import CAE_DEFAULTS, TrainConfig, load_toml
    from ..codec.training.tasks import NEW_NETWORKS, check_same_network, network_from_dict
    from ..codec.training.train import CHECKPOINT, checkpoint_network, train

    try:
        source = out / "config.toml" if resume and toml is None else toml
        settings, shape = load_toml(source) if source is not None and source.exists() else ({}, {})
        init, existing = None, None
        if resume:
            existing = checkpoint_network(out / CHECKPOINT)
        elif init_from is not None:
            from ..codec.models.bundle import Bundle, default_bundle
            from ..codec.training.export.export import restore_model
            from ..codec.training.networks.grow import LAMBDAS, stretched
            from ..codec.training.networks.latent_codec import LatentCodec

            bundle = default_bundle() if init_from == "shipped" else Bundle(init_from)
            existing = bundle.manifest.get("arch", "aei"), bundle.manifest["network"]
        default = existing[0] if existing else "aei"
        arch = "restore" if kind else arch or settings.get("arch", default)
        if arch == "cae":
            settings = CAE_DEFAULTS | settings
        settings |= {name: value for name, value in knobs.items() if value is not None}
        if kind is not None:
            settings["restore"] = kind
        config = TrainConfig(**settings | {"arch": arch})
        shape |= _shape(arch, width, depth)
        if quantise is not None:
            shape["quantise"] = quantise
        restoring = kind is not None and init_from is not None
        if restoring:
            init, network = _in_front_of(bundle, config, shape)
            if restorer_from is not None:
                from ..codec.training.export.restorer_bundle import start_from

                start_from(init.net, restorer_from)
        elif existing is not None:
            network = _grown_shape(arch, *existing, shape) if init_from is not None else None
            if network is None:
                check_same_network(str(init_from or out / CHECKPOINT), *existing, arch, shape)
                network = network_from_dict(*existing)
        else:
            network = network_from_dict(arch, NEW_NETWORKS.get(arch, {}) | shape)
        folder = data_folder(data)
        if epochs is not None:
            config.steps = epochs * _steps_per_epoch(config, folder)
        if init_from is not None and not restoring:
            init = restore_model(bundle)
            if isinstance(init, LatentCodec) and "lambda" in bundle.manifest:
                if config.freeze_prior and tuple(bundle.manifest["lambda"]) != LAMBDAS:
                    raise ValueError(
                        f"{bundle.path} was trained for other lambdas than {LAMBDAS[0]} to "
                        f"{LAMBDAS[1]}: its rows move, which freeze_prior forbids"
                    )
                init = stretched(init, tuple(bundle.manifest["lambda"]))
            if init.config != network:
                from ..codec.training.networks.grow import grown

                init = grown(init, network)
        train(
            folder, out, network, config, resume=resume, init=init, tensorboard=tensorboard,
            log=output.say,
        )  # fmt: skip
        output.emit(checkpoint=str(out / "last.pt"))
    except (ValueError, FileNotFoundError) as error:
        raise AeiError(str(error)) from None


def _grown_shape(arch: str, has_arch: str, has: dict, asked: dict):
    """The configuration of a network `has` with the blocks that are asked for, where those are
    more; else None."""
    from ..codec.training.networks.grow import can_grow
    from ..codec.training.tasks import network_from_dict

    if arch != "aei" or has_arch != arch:
        return None
    network = network_from_dict(arch, has | asked)
    return network if can_grow(network_from_dict(arch, has), network) else None


def _in_front_of(bundle, config, shape: dict):
    """An untrained restoring network in front of a bundle's model, and their configuration. Notes
    in `config` which."""
    from dataclasses import asdict

    from ..codec.training.config import check
    from ..codec.training.export.export import restore_model
    from ..codec.training.networks.latent_codec import LatentCodec
    from ..codec.training.networks.restorer import RestoreConfig, RestoringCodec, config_of
    from ..codec.training.tasks import network_from_dict

    check(config)
    codec = restore_model(bundle)
    if not isinstance(codec, LatentCodec):
        raise ValueError(f"{bundle.path}: a restoring network needs a model of --arch aei")
    config.coder = bundle.fingerprint.hex()
    defaults = asdict(config_of(codec.config, config.restore))
    network = network_from_dict("restore", defaults | shape)
    assert isinstance(network, RestoreConfig)
    return RestoringCodec(network, codec), network


def _shape(arch: str, width: int | None, depth: int | None) -> dict:
    """The network settings that --width and --depth stand for."""
    if arch == "cae":
        pairs = {"width": width, "depth": depth}
    elif arch == "restore":
        pairs = {"restorer_width": width, "restorer_depth": depth}
    else:
        # at 1/8 resolution, three eighths of the channels (in eights) and half the blocks
        pairs = {
            "width16": width,
            "width8": None if width is None else max(8, width * 3 // 64 * 8),
            "blocks16": depth,
            "blocks8": None if depth is None else max(1, depth // 2),
        }
    return {name: value for name, value in pairs.items() if value is not None}


def data_folder(data: str) -> Path:
    if data == "cifar10" and not Path(data).is_dir():
        from ..benchmarks.datasets import HINTS, DataMissingError, data_root

        root = data_root()
        if root is None or not (root / "cifar10").is_dir():
            raise DataMissingError(
                f"cifar10: not found; set AEI_DATA to a folder that holds {HINTS['cifar10']}"
            )
        return root / "cifar10"
    if not Path(data).is_dir():
        raise FileNotFoundError(f"{data}: no such folder")
    return Path(data)


def _steps_per_epoch(config, folder: Path) -> int:
    if config.arch != "cae":
        raise click.UsageError("--epochs counts passes over CIFAR-10: give --steps for photographs")
    from ..codec.training.tasks import cae_images

    return -(-len(cae_images(config, folder).train) // config.batch)
