"use strict";

(function () {
  const data = dataOfPage();
  document.getElementById("theme").append(themeButton());
  document.getElementById("facts").textContent =
    `${data.width} x ${data.height} pixels: ${data.done}. ${data.note}`;
  makeViewer(document.getElementById("viewer")).show(
    data.pictures,
    data.width,
    data.height,
    "Before",
    "After",
  );
})();
