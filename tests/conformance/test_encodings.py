"""What the encoder makes of images stays what it was, where float graphs have a part in it: the
files of refined.json. Those that are the same on every machine: test_analysis.py."""

import hashlib
import json
import sys

import pytest
from golden_files import CORES, GOLDEN, codec_of

sys.path.insert(0, str(GOLDEN))
from pinned import CASES, REFINED, encoded, graphs_sha256

PINNED = json.loads((GOLDEN / "encodings.json").read_text())
PINNED_HERE = json.loads((GOLDEN / "refined.json").read_text())


def test_every_case_is_pinned():
    assert set(PINNED) == set(CASES)
    assert set(PINNED_HERE) == set(REFINED)
    options = [facts["options"] for facts in (*PINNED.values(), *PINNED_HERE.values())]
    assert {o.get("effort") for o in options} >= {None, 0, 2, 5}
    assert {o.get("tune") for o in options} == {None, "psnr", "ms-ssim"}


@pytest.mark.parametrize("core", ["numpy", list(CORES)[-1]])
@pytest.mark.parametrize("name", PINNED_HERE)
def test_the_file_is_the_pinned_one(name, core, monkeypatch):
    facts = PINNED_HERE[name]
    codec = codec_of(facts["bundle"])
    if graphs_sha256(codec) != facts["graphs_sha256"]:
        pytest.skip("the float graphs round otherwise on this machine than where it was pinned")
    for variable, value in CORES[core].items():
        monkeypatch.setenv(variable, value)
    data = encoded(codec, facts["image"], facts["options"])
    assert (len(data), hashlib.sha256(data).hexdigest()) == (facts["bytes"], facts["sha256"])
