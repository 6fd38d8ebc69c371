// Common to all pages: calls to an API of ours, times in the reader's own words, menus that close.
(() => {
  "use strict";

  const MESSAGES = {
    403: "You may not do this, or this page is too old: load it again.",
    404: "It is not there any more. Load the page again.",
    429: "Too much at once. Please try again in a minute.",
    503: "A part of the service is away. Please try again in a minute.",
  };

  /** Call an API with the page's XSRF token; a refusal becomes an Error whose message is fit for the person. */
  async function call(method, url, { xsrf, body } = {}) {
    let response;
    try {
      response = await fetch(url, {
        method,
        credentials: "same-origin",
        headers: { "X-XSRFToken": xsrf, "Content-Type": "application/json", Accept: "application/json" },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch {
      throw new Error("The service does not answer. Please try again in a minute.");
    }
    if (!response.ok) {
      const answer = await response.json().catch(() => ({}));
      const message = answer.error?.message ?? answer.message ?? MESSAGES[response.status];
      const error = new Error(message ?? `This failed (${response.status}). Please try again in a minute.`);
      error.status = response.status;
      throw error;
    }
    return response;
  }

  const pause = (milliseconds) => new Promise((resolve) => window.setTimeout(resolve, milliseconds));

  /** End a session. The hub may fail once when it interrupts a start at the wrong moment: then ask again. */
  async function end(server, { xsrf, remove = false }) {
    for (let left = 5; ; left -= 1) {
      try {
        return await call("DELETE", server, { xsrf, body: remove ? { remove } : undefined });
      } catch (error) {
        if (error.status === 404) return null;
        if (error.status !== 500 || !left) throw error;
        await pause(1500);
      }
    }
  }

  const STEPS = [
    ["day", 86400],
    ["hour", 3600],
    ["minute", 60],
  ];
  const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  const day = new Intl.DateTimeFormat("en", { dateStyle: "medium" });
  const exact = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });

  /** Write every <time> below an element relative to now; its title tells the exact time. */
  function writeTimes(root = document) {
    for (const element of root.querySelectorAll("time[datetime]")) {
      const moment = new Date(element.dateTime);
      if (Number.isNaN(moment.getTime())) continue;
      const seconds = (moment.getTime() - Date.now()) / 1000;
      const distant = Math.abs(seconds) > 30 * 86400;
      const step = STEPS.find(([, length]) => Math.abs(seconds) >= length);
      const near = step ? relative.format(Math.round(seconds / step[1]), step[0]) : "just now";
      const text = distant ? day.format(moment) : near;
      if (element.textContent !== text) element.textContent = text;
      element.title = exact.format(moment);
    }
  }

  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details[data-menu][open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll("details[data-menu][open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });

  // A form that starts something must not be sent twice by an impatient second click.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("[data-once]")) return;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
    form.setAttribute("aria-busy", "true");
    event.submitter?.classList.add("is-busy");
  });

  // Coming back with the browser's back button finds the form usable again.
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) {
      delete form.dataset.sent;
      form.removeAttribute("aria-busy");
    }
  });

  window.daas = { call, end, writeTimes };
  writeTimes();
  window.setInterval(writeTimes, 30000);
})();
