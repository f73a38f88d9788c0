"""The restoring bundles of aei, found by the entry point group `aei.restore`."""

from pathlib import Path


def bundles() -> list[Path]:
    """Folders of the bundles in this package."""
    return sorted(p.parent for p in (Path(__file__).parent / "bundles").glob("*/manifest.json"))
