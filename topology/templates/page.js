const every = 3000;
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
