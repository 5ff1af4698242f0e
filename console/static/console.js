// Shows times in the viewer's time zone, copies ids, signs in by one-time links, and shows when the gateway does not answer.
const zone = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const today = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

const dress = (part) => {
  for (const time of part.querySelectorAll("time[datetime]:not([title])")) {
    const moment = new Date(time.dateTime);
    const isToday = moment.toDateString() === new Date().toDateString();
    time.title = time.textContent;
    time.textContent = (isToday ? today : zone).format(moment);
  }
};

const notify = (text) => {
  const place = document.getElementById("said");
  place.textContent = text;
  clearTimeout(notify.timer);
  notify.timer = setTimeout(() => { place.textContent = ""; }, 2000);
};

const copy = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
    notify("Copied");
  } catch {
    notify("The browser does not allow this page to copy.");
  }
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button.dataset.copy);
});

// On a phone the navigation is one line, which is scrolled so that the current screen is visible.
const present = document.querySelector("nav [aria-current]");
if (present) present.parentElement.scrollLeft = present.offsetLeft - present.parentElement.offsetLeft;

// A one-time link has its key in the fragment, which browsers do not send to servers.
const form = document.getElementById("sign-in");
if (form && location.hash.length > 1) {
  form.elements.link.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname + location.search);
  form.submit();
}

const lost = (isLost) => { document.getElementById("lost").hidden = !isLost; };
for (const name of ["htmx:sendError", "htmx:timeout", "htmx:responseError"]) {
  document.addEventListener(name, (event) => lost((event.detail.xhr?.status ?? 0) === 0 || event.detail.xhr.status >= 500));
}
document.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) lost(false); });

// A stream that signals commits: parts with the trigger `committed` then reload. Only a visible page has a stream, since a browser
// opens few connections to a host.
let stream = null;
let silence = null;
const follow = () => {
  if (stream || document.hidden || !document.querySelector("[hx-trigger*=committed]")) return;
  stream = new EventSource("/console/live");
  stream.onmessage = () => htmx.trigger(document.body, "committed");
  stream.onopen = () => { clearTimeout(silence); silence = null; lost(false); };
  stream.onerror = () => {
    if (stream.readyState === EventSource.CLOSED) unfollow();
    else silence ??= setTimeout(() => lost(true), 4000);
  };
};
const unfollow = () => { stream?.close(); stream = null; clearTimeout(silence); silence = null; };
document.addEventListener("visibilitychange", () => (document.hidden ? unfollow() : follow()));
document.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) follow(); });
addEventListener("pagehide", unfollow);
addEventListener("pageshow", follow);

// A part with an interval does not reload while the page is hidden, or while a detail in it is open or something in it has the
// focus. An answer that arrives then would close the detail, so it is dropped. Beside what must not grow old, such as alerts, is a
// detail that `stays`: its part reloads, and it is opened again.
const isInUse = (part) => part.matches("[hx-trigger*=every]") && part.querySelector("details[open]:not(.stays), :focus-visible");
let stayed = false;
document.addEventListener("htmx:beforeRequest", (event) => {
  const part = event.detail.elt;
  if (isInUse(part) || (document.hidden && part.matches("[hx-trigger*=every]"))) event.preventDefault();
});
document.addEventListener("htmx:beforeSwap", (event) => {
  if (isInUse(event.detail.requestConfig.elt)) event.detail.shouldSwap = false;
  stayed = event.detail.target.querySelector("details.stays[open]") !== null;
});
document.addEventListener("htmx:afterSwap", (event) => {
  if (stayed) for (const each of event.detail.target.querySelectorAll("details.stays")) each.open = true;
});
// A chart has its names and columns in an attribute: first the times, then a column for each name. `kinds` are colours by meaning; a
// value between two gaps is drawn as a point.
const draw = (place) => {
  const { names, columns, kinds } = JSON.parse(place.dataset.chart);
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const axis = { stroke: colour("soft"), grid: { stroke: colour("hair"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
  const lines = names.map((label, n) => ({ label, stroke: colour(kinds?.[n] ?? `line-${(n % 6) + 1}`), width: 2,
    spanGaps: true, points: { show: columns[n + 1].includes(null) } }));
  const options = { width: place.clientWidth, height: 200, series: [{}, ...lines],
    axes: [{ ...axis, space: 80 }, { ...axis, size: 44 }], // narrower, and times such as 12:30pm touch each other
    scales: { y: { range: (_, low, high) => [0, Math.max(high, 4)] } }, legend: { live: false } };
  new uPlot(options, columns, place);
};
const drawAll = (part) => { for (const place of part.querySelectorAll("[data-chart]:empty")) draw(place); };
addEventListener("resize", () => {
  for (const place of document.querySelectorAll("[data-chart]")) place.replaceChildren();
  drawAll(document);
});
document.addEventListener("htmx:afterSettle", (event) => {
  const part = event.target.parentElement ?? event.target;
  dress(part);
  drawAll(part);
});
dress(document);
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" }); // on a phone the list is scrolled
