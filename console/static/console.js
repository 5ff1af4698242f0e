// Times in the reader's zone, ids that are copied whole, one-time links, and word that the gateway does not answer.
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

const say = (text) => {
  const said = document.getElementById("said");
  said.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { said.textContent = ""; }, 2000);
};

const copy = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied");
  } catch {
    say("The browser does not let this page copy.");
  }
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button.dataset.copy);
});

// A one-time link has its key in the fragment, which the browser sends to nobody.
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
// A part that looks again by itself rests while nobody sees it, and while something in it is open.
document.addEventListener("htmx:beforeRequest", (event) => {
  const part = event.detail.elt;
  if (part.matches("[hx-trigger*=every]") && (document.hidden || part.querySelector("details[open]"))) event.preventDefault();
});
document.addEventListener("htmx:afterSettle", (event) => dress(event.target.parentElement ?? event.target));
dress(document);
