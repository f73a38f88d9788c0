"""Write docs/reference/library.md from the docstrings: python docs/reference/make_library.py"""

import importlib
import inspect
import textwrap
from pathlib import Path

INTRODUCTION = """# Library

Made from the docstrings by `python docs/reference/make_library.py`. `from aei import codec` is all
that most programs need; the modules after it hold what the command line is made of.

The library logs under the name `aei` with the standard logging module, and prints nothing.
"""
MODULES = {
    "aei.codec": None,
    "aei.codec.settings": ("EncodeSettings",),
    "aei.codec.loaders": (
        "AeiDataset",
        "Pixels",
        "Latents",
        "RandomCrop",
        "WebDecoder",
        "read_aei",
    ),
    "aei.codec.pillow": (),
    "aei.codec.targets": ("Target", "Reached", "encode_to_target"),
    "aei.codec.pixels.quality": ("psnr", "ssim"),
    "aei.codec.metrics.ssimulacra2": ("ssimulacra2",),
    "aei.codec.pixels.tensors": ("as_pixels",),
    "aei.codec.files.convert": (
        "EncodeOptions",
        "Converted",
        "encode_file",
        "decode_file",
        "image_file",
        "thumbnail",
    ),
    "aei.codec.files.plan": ("Task", "Outcome", "Plan", "make_plan"),
    "aei.codec.files.batch": ("run",),
    "aei.codec.restore": ("Restorers", "Restorer", "Applied"),
    "aei.codec.files.storage": ("write_atomic",),
    "aei.codec.inspect.account": ("bit_map", "take_account", "Account"),
    "aei.cli.pages.view": ("page", "ansi"),
    "aei.codec.inspect.look": ("look", "Look", "Response"),
    "aei.codec.inspect.attribution": ("attribute", "Attribution"),
}


def library() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for module_name, names in MODULES.items():
        module = importlib.import_module(module_name)
        parts.append(f"\n## {module_name}\n\n{_text(module)}\n")
        for name in module.__all__ if names is None else names:
            parts.append(_entry(name, getattr(module, name)))
    return "".join(parts)


def _entry(name: str, thing) -> str:
    if not inspect.isclass(thing):
        return f"\n### {name}\n\n```text\n{_call(name, thing)}\n```\n\n{_text(thing)}\n"
    if issubclass(thing, Exception):
        return f"\n### {name}\n\n{_text(thing)}\n"
    text = f"\n### class {name}\n\n```text\n{_call(name, thing)}\n```\n\n{_text(thing)}\n"
    for method, value in vars(thing).items():
        if not method.startswith("_") and inspect.isfunction(value):
            text += f"\n#### {name}.{method}\n\n"
            text += f"```text\n{_call(method, value)}\n```\n\n{_text(value)}\n"
    return text


def _call(name: str, thing) -> str:
    call = f"{name}{inspect.signature(thing)}".replace("'", "")
    return textwrap.fill(call, 96, subsequent_indent="    ")


def _text(thing) -> str:
    """The docstring, its examples fenced."""
    lines: list[str] = []
    for paragraph in inspect.cleandoc(thing.__doc__ or "").split("\n\n"):
        fenced = paragraph.startswith(">>>")
        lines += ["```text", paragraph, "```", ""] if fenced else [paragraph, ""]
    return "\n".join(lines).rstrip()


if __name__ == "__main__":
    (Path(__file__).parent / "library.md").write_text(library(), encoding="utf-8")
