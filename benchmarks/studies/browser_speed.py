"""How fast `aei-decode` (web/) shows files in a browser, and for how long it blocks the page.

python -m aei.benchmarks.studies.browser_speed WEB/dist photo.aei large.aei -o browser.json

Needs the playwright package and a Chromium. For each number of workers a new page: the first decode
of a file fetches, verifies and unpacks the weights (cold); then the median of warm ones; then
<aei-image> shows it once. The main thread's longest block is the longest gap between two turns of
its event loop: while files are decoded, and while one is shown.
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ...codec.models.bundle import default_bundle
from ...codec.training.export.web import file_name, pack_weights

PAGE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<script type="module">
import { configure, decode } from "./dist/aei-decode.js";
import "./dist/element.js";
configure({ weights: "models/" });
let last = performance.now(), longest = 0;
const { port1, port2 } = new MessageChannel(); // turns come one after the other, unlike timers
port1.onmessage = () => {
  const now = performance.now();
  longest = Math.max(longest, now - last);
  last = now;
  setTimeout(() => port2.postMessage(0), 1);
};
port2.postMessage(0);
window.measured = async (name, workers, repeats) => {
  configure({ workers });
  const data = await (await fetch(name)).arrayBuffer();
  const seconds = [];
  let image;
  longest = 0;
  last = performance.now();
  for (let i = 0; i <= repeats; i++) {
    const start = performance.now();
    image = await decode(data);
    seconds.push((performance.now() - start) / 1000);
  }
  const decoding = longest, element = document.createElement("aei-image");
  const loaded = new Promise((resolve, reject) => {
    element.addEventListener("load", resolve);
    element.addEventListener("error", ({ error }) => reject(error));
  });
  longest = 0;
  element.src = name;
  document.body.append(element);
  await loaded;
  await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
  const { width, height } = image;
  return { width, height, seconds, decoding, showing: longest };
};
window.ready = true;
</script>"""


class Quiet(SimpleHTTPRequestHandler):
    """A server of files that says nothing."""

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def measured(
    dist: Path, files: list[Path], workers: list[int], repeats: int, browser: str
) -> list[dict]:
    """A row for each number of workers and file: pixels, seconds cold (with the weights' loading
    and checking, from this machine's disk) and warm (median), longest blocks in milliseconds."""
    from playwright.sync_api import sync_playwright

    rows = []
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        site = Path(place)
        shutil.copytree(dist, site / "dist")
        (site / "models").mkdir()
        bundle = default_bundle()
        (site / "models" / file_name(bundle)).write_bytes(pack_weights(bundle))
        (site / "index.html").write_text(PAGE)
        for i, file in enumerate(files):
            shutil.copy(file, site / f"{i}.aei")
        handler = functools.partial(Quiet, directory=place)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        opened = playwright.chromium.launch(
            executable_path=browser, args=["--no-sandbox", "--disable-gpu"]
        )
        for count in workers:
            for i, file in enumerate(files):
                tab = opened.new_context().new_page()
                tab.goto(f"http://127.0.0.1:{server.server_port}/")
                tab.wait_for_function("window.ready")
                found = tab.evaluate("(a) => measured(...a)", [f"{i}.aei", count, repeats])
                cold, *warm = found["seconds"]
                rows.append({
                    "file": file.name, "megapixels": found["width"] * found["height"] / 1e6,
                    "workers": count, "cold_s": round(cold, 3),
                    "warm_s": round(sorted(warm)[len(warm) // 2], 3),
                    "longest_block_ms": round(found["decoding"], 1),
                    "longest_block_shown_ms": round(found["showing"], 1),
                })  # fmt: skip
                tab.close()
        opened.close()
        server.shutdown()
    return rows


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="browser_speed", description=__doc__.split("\n")[0])
    parser.add_argument("dist", type=Path, help="the folder web/dist")
    parser.add_argument("files", type=Path, nargs="+", help=".aei files of the shipped model")
    parser.add_argument("-o", "--output", type=Path, help="JSON file to write")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--browser", default=shutil.which("chromium"), help="the browser's path")
    options = parser.parse_args()
    rows = measured(options.dist, options.files, options.workers, options.repeats, options.browser)
    for row in rows:
        print(json.dumps(row))
    if options.output:
        options.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
