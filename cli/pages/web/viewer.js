"use strict";

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined)
      node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function fileSize(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  if (bytes < 999500) return `${(bytes / 1000).toFixed(bytes < 99950 ? 1 : 0)} kB`;
  return `${(bytes / 1e6).toFixed(2)} MB`;
}

function themeButton() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const current = () => document.documentElement.dataset.theme || (dark.matches ? "dark" : "light");
  const button = el("button", {
    class: "icon",
    type: "button",
    onclick: () => {
      document.documentElement.dataset.theme = current() === "dark" ? "light" : "dark";
      label();
    },
  });
  const label = () => {
    button.textContent = current() === "dark" ? "Light" : "Dark";
  };
  dark.addEventListener("change", label);
  label();
  return button;
}

// A before/after slider over two pictures of one image, with zoom and a difference view.
// Pictures: {name, bytes, psnr, src}. show() takes them and the size of the image.
function makeViewer(root) {
  const state = {
    width: 1,
    height: 1,
    pictures: [],
    split: 0.5,
    zoom: 0,
    x: 0,
    y: 0,
    mode: "slider",
  };
  const first = el("img", { alt: "", draggable: "false" });
  const second = el("img", { alt: "", draggable: "false" });
  const secondLayer = el("div", { class: "layer second" }, second);
  const handle = el("button", {
    class: "handle",
    type: "button",
    role: "slider",
    "aria-label": "Divider between the two pictures",
    "aria-valuemin": "0",
    "aria-valuemax": "100",
  });
  const leftTag = el("span", { class: "tag left" });
  const rightTag = el("span", { class: "tag right" });
  const stage = el(
    "div",
    {
      class: "stage",
      tabindex: "0",
      role: "group",
      "aria-label":
        "Pictures. Arrow keys move the divider, or the zoomed picture; plus and minus zoom; " +
        "D shows the difference.",
    },
    el("div", { class: "pair" }, el("div", { class: "layer" }, first), secondLayer),
    leftTag,
    rightTag,
    handle,
  );

  const choose = (label, index) => {
    const select = el("select", { "aria-label": label, onchange: refresh });
    return { select, label: el("label", {}, index ? "Right" : "Left", select) };
  };
  const left = choose("Left picture", 0);
  const right = choose("Right picture", 1);
  const toggle = (text, active, action) =>
    el(
      "button",
      {
        type: "button",
        "aria-pressed": String(active),
        onclick: action,
      },
      text,
    );
  const modes = { slider: "Slider", difference: "Difference" };
  const modeButtons = Object.entries(modes).map(([mode, text]) =>
    toggle(text, mode === "slider", () => setMode(mode)),
  );
  const gain = el(
    "select",
    {
      "aria-label": "Amplification of the difference",
      onchange: () => stage.style.setProperty("--gain", gain.value),
    },
    ...[1, 4, 8, 16].map((n) => el("option", { value: n, selected: n === 8 }, `${n}x`)),
  );
  const gainLabel = el("label", { hidden: true }, "Amplified", gain);
  const zooms = { 0: "Fit", 1: "100 %", 2: "200 %", 4: "400 %" };
  const zoomButtons = Object.entries(zooms).map(([zoom, text]) =>
    toggle(text, zoom === "0", () => setZoom(Number(zoom))),
  );
  const swap = el(
    "button",
    {
      type: "button",
      onclick: () => {
        [left.select.value, right.select.value] = [right.select.value, left.select.value];
        refresh();
      },
    },
    "Swap",
  );

  root.append(
    el("div", { class: "bar" }, left.label, right.label, swap),
    stage,
    el(
      "div",
      { class: "bar" },
      el("span", { class: "group", role: "group", "aria-label": "View" }, ...modeButtons),
      gainLabel,
      el("span", { class: "group", role: "group", "aria-label": "Zoom" }, ...zoomButtons),
    ),
  );

  function fit() {
    return stage.clientWidth / state.width;
  }
  function scale() {
    return state.zoom || fit();
  }

  function draw() {
    const s = scale();
    const roomX = Math.min(0, stage.clientWidth - state.width * s);
    const roomY = Math.min(0, stage.clientHeight - state.height * s);
    state.x = Math.min(0, Math.max(roomX, state.x));
    state.y = Math.min(0, Math.max(roomY, state.y));
    for (const img of [first, second]) {
      img.style.width = `${state.width}px`;
      img.style.height = `${state.height}px`;
      img.style.transform = `translate(${state.x}px, ${state.y}px) scale(${s})`;
    }
    const percent = 100 * state.split;
    secondLayer.style.clipPath = state.mode === "difference" ? "none" : `inset(0 0 0 ${percent}%)`;
    handle.style.left = `${percent}%`;
    handle.setAttribute("aria-valuenow", percent.toFixed(0));
    stage.classList.toggle("difference", state.mode === "difference");
    stage.classList.toggle("zoomed", s > fit() * 1.001);
    stage.classList.toggle("pixels", s >= 2);
  }

  function setSplit(value) {
    state.split = Math.min(1, Math.max(0, value));
    draw();
  }

  function setMode(mode) {
    state.mode = mode;
    Object.keys(modes).forEach((m, i) =>
      modeButtons[i].setAttribute("aria-pressed", String(m === mode)),
    );
    gainLabel.hidden = mode !== "difference";
    draw();
  }

  // Keeps what is under (cx, cy), by default the middle of the stage, where it is.
  function setZoom(zoom, cx = stage.clientWidth / 2, cy = stage.clientHeight / 2) {
    const before = scale();
    state.zoom = zoom;
    const ratio = scale() / before;
    state.x = cx - (cx - state.x) * ratio;
    state.y = cy - (cy - state.y) * ratio;
    Object.keys(zooms).forEach((z, i) =>
      zoomButtons[i].setAttribute("aria-pressed", String(Number(z) === zoom)),
    );
    draw();
  }

  function stepZoom(up, cx, cy) {
    const levels = [1, 2, 4].filter((z) => z > fit() * 1.001);
    const current = scale();
    const next = up
      ? levels.find((z) => z > current * 1.001)
      : ([...levels].reverse().find((z) => z < current * 0.999) ?? 0);
    if (next !== undefined) setZoom(next, cx, cy);
  }

  function refresh() {
    const chosen = [left, right].map((side) => state.pictures[Number(side.select.value)]);
    const tags = [leftTag, rightTag];
    [first, second].forEach((img, i) => {
      const picture = chosen[i];
      if (img.getAttribute("src") !== picture.src) img.src = picture.src;
      img.alt = picture.name;
      tags[i].textContent = picture.bytes
        ? `${picture.name} · ${fileSize(picture.bytes)}`
        : picture.name;
    });
    draw();
  }

  let drag = null;
  stage.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const onHandle = event.target === handle;
    const pan = stage.classList.contains("zoomed") && !onHandle;
    drag = { pan, px: event.clientX, py: event.clientY, x: state.x, y: state.y };
    stage.setPointerCapture(event.pointerId);
    stage.classList.toggle("moving", pan);
    if (!pan) moveTo(event);
    if (onHandle) handle.focus({ preventScroll: true });
  });
  stage.addEventListener("pointermove", (event) => {
    if (!drag) return;
    if (drag.pan) {
      state.x = drag.x + event.clientX - drag.px;
      state.y = drag.y + event.clientY - drag.py;
      draw();
    } else moveTo(event);
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    stage.addEventListener(kind, () => {
      drag = null;
      stage.classList.remove("moving");
    });
  }
  function moveTo(event) {
    if (state.mode !== "slider") return;
    const box = stage.getBoundingClientRect();
    setSplit((event.clientX - box.left) / box.width);
  }
  stage.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey) return; // plain turning scrolls the page
      event.preventDefault();
      const box = stage.getBoundingClientRect();
      stepZoom(event.deltaY < 0, event.clientX - box.left, event.clientY - box.top);
    },
    { passive: false },
  );
  stage.addEventListener("dblclick", (event) => {
    const box = stage.getBoundingClientRect();
    setZoom(
      state.zoom ? 0 : Math.max(1, 2 * Math.ceil(fit())),
      event.clientX - box.left,
      event.clientY - box.top,
    );
  });
  stage.addEventListener("keydown", (event) => {
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const panning = event.target === stage && stage.classList.contains("zoomed");
    if (event.key in arrows) {
      const [dx, dy] = arrows[event.key];
      if (panning) {
        state.x -= 60 * dx;
        state.y -= 60 * dy;
        draw();
      } else setSplit(state.split + (dx || -dy) * (event.shiftKey ? 0.1 : 0.02));
    } else if (event.key === "Home") setSplit(0);
    else if (event.key === "End") setSplit(1);
    else if (event.key === "+" || event.key === "=") stepZoom(true);
    else if (event.key === "-") stepZoom(false);
    else if (event.key === "0") setZoom(0);
    else if (event.key === "d" || event.key === "D")
      setMode(state.mode === "slider" ? "difference" : "slider");
    else return;
    event.preventDefault();
  });
  new ResizeObserver(draw).observe(stage);

  return {
    choose(leftName, rightName) {
      const index = (name) => state.pictures.findIndex((p) => p.name === name);
      if (index(leftName) >= 0) left.select.value = index(leftName);
      if (index(rightName) >= 0) right.select.value = index(rightName);
      refresh();
    },
    show(pictures, width, height, leftName, rightName) {
      const kept = [left, right].map((side) => state.pictures[Number(side.select.value)]?.name);
      Object.assign(state, { pictures, width, height });
      for (const side of [left, right]) {
        side.select.replaceChildren(...pictures.map((p, i) => el("option", { value: i }, p.name)));
      }
      stage.style.aspectRatio = `${width} / ${height}`;
      // all of it on the screen, and small images not blown up without bound
      stage.style.width = `min(100%, ${(74 * width) / height}vh, ${Math.max(width, 640)}px)`;
      this.choose(kept[0] ?? leftName, kept[1] ?? rightName);
      setZoom(state.zoom);
    },
  };
}

function dataOfPage() {
  return JSON.parse(document.getElementById("data").textContent);
}
