// The theme decides what scrolls, and so what the Tab key has to reach, when a page is loaded or resized. What is folded
// away then seems not to scroll: it is looked at again when somebody opens it.
document.addEventListener("toggle", () => window.dispatchEvent(new Event("resize")), { capture: true });
