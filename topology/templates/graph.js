// Pointing at a box, or reaching it by keyboard, shows its ways alone.
const aim = (name) => {
  const graph = document.querySelector(".graph");
  if (!graph) return;
  graph.classList.toggle("aimed", !!name);
  for (const hit of graph.querySelectorAll(".hit")) hit.classList.remove("hit");
  if (!name) return;
  const near = new Set([name]);
  for (const curve of graph.querySelectorAll(".curve")) {
    const { source, target } = curve.dataset;
    if (source === name || target === name) { curve.classList.add("hit"); near.add(source).add(target); }
  }
  for (const shape of graph.querySelectorAll(".shape")) if (near.has(shape.dataset.name)) shape.classList.add("hit");
};
let aimed = null;
document.addEventListener("mouseover", (event) => {
  aimed = event.target.closest(".shape")?.dataset.name ?? null;
  aim(aimed);
});
document.addEventListener("focusin", (event) => aim(event.target.closest(".shape")?.dataset.name ?? null));
document.addEventListener("htmx:afterSettle", () => aim(aimed));
