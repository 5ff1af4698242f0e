const every = 3000;
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
const renew = async () => {
  if (document.hidden) return;
  const main = document.querySelector("main");
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
    const open = [...main.querySelectorAll("details[open]")].map((part) => part.id);
    const left = main.querySelector(".canvas")?.scrollLeft ?? 0;
    main.replaceWith(fresh);
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    fresh.querySelector(".canvas")?.scrollTo(left, 0);
    aim(aimed);
  } catch {
    document.querySelector("#age").textContent = "this page's server does not answer; the picture is old";
  }
};
if (renewing) setInterval(renew, every);
