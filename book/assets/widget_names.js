// Widgets come without the names that a screen reader needs; give them some as they are drawn.
"use strict";

if (document.querySelector("script[type='application/vnd.jupyter.widget-view+json']")) {
  const name = () => {
    for (const image of document.querySelectorAll("img.widget-image:not([alt])"))
      image.alt = image.title || "Figure of this widget as it was stored; in JupyterLab it follows the control beside it.";
    for (const select of document.querySelectorAll(".widget-dropdown select:not([aria-label])")) {
      const label = select.closest(".widget-dropdown").querySelector("label");
      select.setAttribute("aria-label", (label && label.textContent.trim()) || "what the figure below shows");
    }
    for (const handle of document.querySelectorAll(".noUi-handle:not([aria-label])")) {
      const label = handle.closest(".jupyter-widgets")?.querySelector("label");
      handle.setAttribute("aria-label", (label && label.textContent.trim()) || "what the figure below shows");
    }
  };
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
  name();
}
