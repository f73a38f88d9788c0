"use strict";

(function () {
  const data = dataOfPage();
  const byId = (id) => document.getElementById(id);
  const { width, height, side, bits } = data;
  byId("theme").append(themeButton());
  byId("facts").textContent =
    `${width} x ${height} pixels${data.note && ", "}${data.note}. The slider lays over it how ` +
    `many bits each block of ${side} x ${side} pixels took.`;

  const share = (blocks, pixels) => `${(100 * blocks * side) / pixels}%`;
  const heat = el("img", { class: "heat", src: data.heat, alt: "heat map of the bits" });
  heat.style.width = share(bits[0].length, width);
  heat.style.height = share(bits.length, height);
  heat.style.opacity = 0;
  const cell = el("div", { class: "cell", hidden: true });
  const picture = byId("picture");
  picture.style.maxWidth = `min(${width}px, calc(78vh * ${width / height}))`;
  picture.append(el("img", { src: data.image, alt: "the decoded picture", width, height }));
  picture.append(heat, cell);

  byId("mix").addEventListener("input", (event) => {
    heat.style.opacity = event.target.value / 100;
  });
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const x = Math.floor((((event.clientX - box.left) / box.width) * width) / side);
    const y = Math.floor((((event.clientY - box.top) / box.height) * height) / side);
    const value = bits[y]?.[x];
    cell.hidden = value === undefined;
    if (value === undefined) return;
    Object.assign(cell.style, {
      left: share(x, width),
      top: share(y, height),
      width: share(1, width),
      height: share(1, height),
    });
    byId("here").textContent =
      `block ${x}, ${y}: ${value} bits, ${(value / side / side).toFixed(2)} a pixel`;
  });
  picture.addEventListener("pointerleave", () => (cell.hidden = true));

  byId("table").append(
    el(
      "tbody",
      {},
      ...data.rows.map(([label, value]) =>
        el("tr", {}, el("td", {}, label), el("td", { class: "text" }, value)),
      ),
    ),
  );
})();
