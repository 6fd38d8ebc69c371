// Without this script all of the page works by links and forms; with it, stars and filters need no reload.
(() => {
  "use strict";

  const news = document.getElementById("proposal-news");

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.matches("[data-favourite]")) return;
    event.preventDefault();
    const button = form.querySelector("button");
    const { favourite: url, identifier } = form.dataset;
    const wanted = button.getAttribute("aria-pressed") !== "true";
    if (button.ariaBusy) return;
    button.ariaBusy = "true";
    try {
      await window.daas.call(wanted ? "PUT" : "DELETE", url, { xsrf: form.elements._xsrf.value });
      button.setAttribute("aria-pressed", String(wanted));
      form.elements.wanted.value = wanted ? "no" : "yes";
      news.textContent = wanted ? `${identifier} is a favourite` : `${identifier} is no favourite any more`;
    } catch (error) {
      news.textContent = error.message;
    }
    button.ariaBusy = null;
  });

  document.querySelector("[data-filter]")?.addEventListener("change", (event) => {
    if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
  });
})();
