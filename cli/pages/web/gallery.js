/* A gallery: blocks of photographs that are built when they come near the window, from chunks of
   the list that are scripts, so that the pages work from disk as well. */
"use strict";

const gallery = (() => {
  const el = (id) => document.getElementById(id);
  const make = (name, properties) => Object.assign(document.createElement(name), properties);
  const days = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeZone: "UTC" });
  const months = new Intl.DateTimeFormat(undefined, {
    month: "long",
    year: "numeric",
    timeZone: "UTC",
  });
  const chunks = new Map(); // number: { promise, settle }
  let index,
    shown = -1; // of the photograph in the viewer

  // -- the list -----------------------------------------------------------------------------------

  /** Photograph i: { key, name, width, height, date, bytes, camera, exposure, aei, place }. */
  async function photo(i) {
    const rows = await loaded(Math.floor(i / index.chunk));
    const [key, name, width, height, date, bytes, camera, exposure, aei, place] =
      rows[i % index.chunk];
    return { key, name, width, height, date, bytes, camera, exposure, aei, place };
  }

  function loaded(k) {
    if (!chunks.has(k)) {
      const one = {};
      one.promise = new Promise((resolve, reject) => {
        one.settle = resolve;
        document.head.append(make("script", { src: `data/${k}.js`, onerror: reject }));
      });
      chunks.set(k, one);
    }
    return chunks.get(k).promise;
  }

  // -- the grid -----------------------------------------------------------------------------------

  const near = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries)
        if (isIntersecting && !target.built) build(target);
    },
    { rootMargin: "1200px 0px" },
  );

  /** How high a block will be: rows are as wide as the window, and as high as --row at least. */
  function guess(block) {
    const style = getComputedStyle(document.documentElement),
      row = parseFloat(style.getPropertyValue("--row"));
    const rows = Math.max(1, Math.round((block.sides * row) / el("grid").clientWidth + 0.4));
    return rows * (row * 1.12 + 4) + (block.day ? 56 : 0);
  }

  function build(block) {
    block.built = true;
    near.unobserve(block);
    const photos = make("div", { className: "photos" });
    const filled = Array.from({ length: block.count }, (_, i) => photo(block.first + i));
    Promise.all(filled).then((all) => {
      photos.append(...all.map((one, i) => link(one, block.first + i)));
      if (block.day) block.append(make("h2", { textContent: named(block.day) }));
      block.append(photos);
      block.style.height = "";
      block.style.containIntrinsicSize = `auto ${guess(block)}px`;
      if (block.wanted !== undefined) focusOn(block.wanted);
    });
  }

  function link({ key, name, width, height }, i) {
    const a = make("a", { className: "photo", href: `#${i}`, title: name });
    a.style.setProperty("--ratio", Math.min(3, Math.max(0.4, width / height)));
    a.dataset.photo = i;
    const img = make("img", { loading: "lazy", decoding: "async", alt: name });
    img.src = `small/${key}.webp`;
    a.append(img);
    return a;
  }

  const dateOf = (day) => new Date(`${day.padEnd(10, "-01")}T00:00:00Z`);
  const named = (day) => (day.length > 7 ? days : months).format(dateOf(day));
  const blockOf = (i) =>
    [...el("grid").children].find((b) => i >= b.first && i < b.first + b.count);

  /** Focus a photograph of the grid, built by now or not. */
  function focusOn(i) {
    const found = document.querySelector(`[data-photo="${i}"]`);
    if (found) return void found.focus();
    const block = blockOf(i);
    if (!block) return;
    block.wanted = i;
    block.scrollIntoView({ block: "nearest" });
    if (!block.built) build(block);
  }

  /** The photograph above or below another, by where they are on the page. */
  function beside(a, down) {
    const box = a.getBoundingClientRect(),
      middle = (box.left + box.right) / 2,
      all = [...document.querySelectorAll(".photo")];
    const apart = (b) => (down ? b.top - box.top : box.top - b.top);
    let best = null;
    for (const other of all) {
      const b = other.getBoundingClientRect();
      if (apart(b) < 10) continue;
      const far = [apart(b), Math.abs((b.left + b.right) / 2 - middle)];
      if (!best || far[0] < best.far[0] - 9 || (far[0] < best.far[0] + 9 && far[1] < best.far[1]))
        best = { other, far };
    }
    return best?.other;
  }

  function onGridKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || el("viewer").open) return;
    const a = document.activeElement.closest?.(".photo");
    const { key } = event;
    if (!key.startsWith("Arrow") || document.activeElement.localName === "select") return;
    if (!a) {
      if (key === "ArrowRight") (event.preventDefault(), focusOn(firstSeen()));
      return;
    }
    event.preventDefault();
    const i = Number(a.dataset.photo);
    if (key === "ArrowLeft") focusOn(Math.max(0, i - 1));
    else if (key === "ArrowRight") focusOn(Math.min(index.count - 1, i + 1));
    else (beside(a, key === "ArrowDown") ?? a).focus();
  }

  function firstSeen() {
    const seen = [...document.querySelectorAll(".photo")].find(
      (a) => a.getBoundingClientRect().top >= 0,
    );
    return seen ? Number(seen.dataset.photo) : 0;
  }

  // -- the viewer ---------------------------------------------------------------------------------

  let zoom = { scale: 1, x: 0, y: 0 };
  let element = null; // <aei-image>, once its script is here, or null

  async function show(i) {
    if (!(i >= 0 && i < index.count)) return;
    shown = i;
    const one = await photo(i);
    if (shown !== i) return;
    if (!el("viewer").open) el("viewer").showModal();
    const img = make("img", { alt: one.name, src: addressOf(one) });
    let top = img;
    if (one.aei && element) {
      top = make(element, { alt: one.name, src: `aei/${one.key}.aei` });
      img.loading = "lazy"; // shown where the file cannot be
      top.append(img);
    }
    // until it is there
    top.style.background = `center / contain no-repeat url("small/${one.key}.webp")`;
    for (const end of ["load", "error"])
      top.addEventListener(end, () => (top.style.background = ""));
    el("stage").replaceChildren(top);
    scaleTo(1);
    el("caption").textContent = [one.date.slice(0, 16), one.name].join("  ");
    tell(one);
    for (const other of [i + 1, i - 1])
      if (other >= 0 && other < index.count && !element)
        photo(other).then((p) => (new Image().src = addressOf(p)));
  }

  const addressOf = (one) =>
    index.ending ? `large/${one.key}${index.ending}` : `small/${one.key}.webp`;

  function tell(one) {
    const megapixels = (one.width * one.height) / 1e6;
    const rows = {
      Name: one.name,
      Taken: one.date,
      Camera: one.camera,
      Exposure: one.exposure,
      Place: one.place && `${one.place[0]}, ${one.place[1]}`,
      Size:
        `${one.width} × ${one.height} (${megapixels.toFixed(1)} megapixels), ` +
        `${size(one.bytes)}`,
    };
    el("about-it").replaceChildren(
      ...Object.entries(rows).flatMap(([name, value]) =>
        value ? [make("dt", { textContent: name }), make("dd", { textContent: value })] : [],
      ),
    );
  }

  const size = (bytes) =>
    bytes >= 1e8
      ? `${(bytes / 1e9).toFixed(2)} GB`
      : bytes >= 1e5
        ? `${(bytes / 1e6).toFixed(1)} MB`
        : `${Math.round(bytes / 1e3)} kB`;

  function go(i) {
    if (i >= 0 && i < index.count) (history.replaceState(null, "", `#${i}`), show(i));
  }

  function close() {
    const i = shown;
    shown = -1;
    el("viewer").close();
    el("stage").replaceChildren();
    history.replaceState(null, "", location.pathname + location.search);
    focusOn(i);
  }

  /** Scale around a place of the stage, its middle by default. */
  function scaleTo(scale, x, y) {
    const stage = el("stage").getBoundingClientRect();
    const px = x ?? stage.width / 2,
      py = y ?? stage.height / 2;
    const wanted = Math.min(12, Math.max(1, scale)),
      factor = wanted / zoom.scale;
    zoom =
      wanted === 1
        ? { scale: 1, x: 0, y: 0 }
        : { scale: wanted, x: px - (px - zoom.x) * factor, y: py - (py - zoom.y) * factor };
    move(0, 0);
  }

  function move(dx, dy) {
    const { width, height } = el("stage").getBoundingClientRect(),
      within = (v, side) => Math.min(0, Math.max(side - side * zoom.scale, v));
    zoom.x = within(zoom.x + dx, width);
    zoom.y = within(zoom.y + dy, height);
    const top = el("stage").firstElementChild;
    if (top) top.style.transform = `translate(${zoom.x}px, ${zoom.y}px) scale(${zoom.scale})`;
    el("stage").classList.toggle("zoomed", zoom.scale > 1);
  }

  function onViewerKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const steps = {
      ArrowLeft: [80, 0],
      ArrowRight: [-80, 0],
      ArrowUp: [0, 80],
      ArrowDown: [0, -80],
    };
    const { key } = event;
    if (zoom.scale > 1 && steps[key]) move(...steps[key]);
    else if (key === "ArrowLeft") go(shown - 1);
    else if (key === "ArrowRight" || key === " ") go(shown + 1);
    else if (key === "Home") go(0);
    else if (key === "End") go(index.count - 1);
    else if (key === "+" || key === "=") scaleTo(zoom.scale * 1.5);
    else if (key === "-") scaleTo(zoom.scale / 1.5);
    else if (key === "0") scaleTo(1);
    else if (key === "i") el("about").click();
    else return;
    event.preventDefault();
  }

  function watchViewer() {
    const stage = el("stage"),
      down = new Map(); // pointers
    let start = null;
    el("viewer").addEventListener("keydown", onViewerKey);
    el("viewer").addEventListener("cancel", (event) => (event.preventDefault(), close()));
    el("previous").onclick = () => go(shown - 1);
    el("next").onclick = () => go(shown + 1);
    el("close").onclick = close;
    el("in").onclick = () => scaleTo(zoom.scale * 1.5);
    el("out").onclick = () => scaleTo(zoom.scale / 1.5);
    el("about").onclick = () => {
      el("about-it").hidden = !el("about-it").hidden;
      el("about").setAttribute("aria-pressed", String(!el("about-it").hidden));
    };
    stage.addEventListener("dblclick", (e) =>
      scaleTo(zoom.scale > 1 ? 1 : 3, e.offsetX, e.offsetY),
    );
    stage.addEventListener(
      "wheel",
      (e) => {
        e.preventDefault();
        const box = stage.getBoundingClientRect();
        scaleTo(zoom.scale * Math.exp(-e.deltaY / 300), e.clientX - box.left, e.clientY - box.top);
      },
      { passive: false },
    );
    stage.addEventListener("dragstart", (e) => e.preventDefault());
    stage.addEventListener("pointerdown", (e) => {
      down.set(e.pointerId, e);
      start = { x: e.clientX, y: e.clientY };
      stage.setPointerCapture(e.pointerId);
    });
    stage.addEventListener("pointermove", (e) => {
      const before = down.get(e.pointerId);
      if (!before) return;
      if (down.size === 2) {
        const [other] = [...down.values()].filter((p) => p.pointerId !== e.pointerId);
        const apart = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY);
        const x = (e.clientX + other.clientX) / 2,
          y = (e.clientY + other.clientY) / 2;
        scaleTo(zoom.scale * (apart(e) / Math.max(1, apart(before))), x, y);
      } else if (zoom.scale > 1) move(e.clientX - before.clientX, e.clientY - before.clientY);
      down.set(e.pointerId, e);
    });
    const lifted = (e) => {
      const alone = down.size === 1;
      if (!down.delete(e.pointerId) || !alone || zoom.scale > 1) return;
      const dx = e.clientX - start.x;
      if (Math.abs(dx) > 60 && Math.abs(dx) > 2 * Math.abs(e.clientY - start.y))
        go(shown + (dx < 0 ? 1 : -1));
    };
    stage.addEventListener("pointerup", lifted);
    stage.addEventListener("pointercancel", (e) => down.delete(e.pointerId));
  }

  // -- the page -----------------------------------------------------------------------------------

  function watchTheme() {
    const root = document.documentElement;
    try {
      root.dataset.theme = localStorage.getItem("theme") ?? "";
    } catch {
      // pages from disk may have no storage
    }
    el("theme").onclick = () => {
      const dark = getComputedStyle(root).colorScheme === "dark";
      root.dataset.theme = dark ? "light" : "dark";
      try {
        localStorage.setItem("theme", root.dataset.theme);
      } catch {
        // as above
      }
    };
  }

  function fillJump(blocks) {
    const firsts = new Map();
    for (const block of blocks)
      if (block.day && !firsts.has(block.day.slice(0, 7))) firsts.set(block.day.slice(0, 7), block);
    if (firsts.size < 2) return;
    el("jump").append(
      ...[...firsts].map(([month]) => make("option", { value: month, textContent: named(month) })),
    );
    el("jump").onchange = () => firsts.get(el("jump").value).scrollIntoView();
    el("jump").parentElement.hidden = false;
  }

  /** Called by data/index.js. */
  function start(given) {
    index = given;
    el("facts").textContent = `${index.count} photographs, ${size(index.bytes)}`;
    const blocks = index.blocks.map(([day, first, count, sides]) =>
      Object.assign(make("section", { className: "block" }), { day, first, count, sides }),
    );
    el("grid").append(...blocks);
    for (const block of blocks) block.style.height = `${guess(block)}px`;
    for (const block of blocks) near.observe(block);
    fillJump(blocks);
    watchTheme();
    watchViewer();
    document.addEventListener("keydown", onGridKey);
    const follow = () => {
      const i = /^#\d+$/.test(location.hash) ? Number(location.hash.slice(1)) : -1;
      if (i >= 0 && i !== shown) show(i);
      else if (i < 0 && el("viewer").open) close();
    };
    addEventListener("hashchange", follow);
    addEventListener("resize", () => {
      if (el("viewer").open) scaleTo(1);
    });
    if (index.originals && location.protocol !== "file:" && globalThis.WebAssembly)
      document.head.append(
        // without it the copies are shown
        make("script", { src: "aei-image.js", onload: () => (element = "aei-image") }),
      );
    follow();
  }

  /** Called by data/NUMBER.js. */
  const chunk = (k, rows) => chunks.get(k)?.settle(rows);
  return { start, chunk };
})();
