// The cards of the sessions page: they follow the hub without a reload, and their buttons call its REST API.
(() => {
  "use strict";

  const LOOK_EVERY = 4000;
  // What the hub's API does not tell, such as a warning, is on the page itself.
  const REDRAW_EVERY = 60000;
  const root = document.getElementById("sessions");
  const alertBox = document.getElementById("session-message");
  const news = document.getElementById("session-news");
  const { user, api, hub, xsrf } = root.dataset;
  const person = `${api}users/${encodeURIComponent(user)}`;
  const following = root.querySelector("[data-session], .daas-empty") !== null && news !== null;

  const ASK = {
    stop: ["Stop", "What runs in it ends, and what is not saved in it is lost. It can be started again."],
    delete: ["Delete", "It ends, and its card goes away. Files in the proposal's folders are kept."],
  };

  function complain(text) {
    alertBox.textContent = text;
    alertBox.hidden = !text;
  }

  /** Ask before something ends; the dialog answers "yes" or anything else. */
  function confirmed(action, name) {
    const dialog = document.getElementById("confirm");
    const [verb, text] = ASK[action];
    document.getElementById("confirm-title").textContent = `${verb} ${name}?`;
    document.getElementById("confirm-text").textContent = text;
    document.getElementById("confirm-yes").textContent = verb;
    dialog.returnValue = "no";
    dialog.showModal();
    return new Promise((resolve) => {
      dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    });
  }

  async function act(action, name) {
    const server = `${person}/servers/${encodeURIComponent(name)}`;
    if (action === "start") {
      await window.daas.call("POST", server, { xsrf });
      window.location.assign(`${hub}spawn-pending/${encodeURIComponent(user)}/${encodeURIComponent(name)}`);
    } else if (await confirmed(action, name)) {
      await window.daas.end(server, { xsrf, remove: action === "delete" });
    }
  }

  root.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-action]");
    if (!button || button.ariaBusy) return;
    const name = button.closest("[data-session]").dataset.session;
    // Not disabled: that would take the focus away from who uses the keyboard.
    button.ariaBusy = "true";
    complain("");
    try {
      await act(button.dataset.action, name);
    } catch (error) {
      complain(error.message);
    }
    button.ariaBusy = null;
    await look(true);
  });

  // --- following the hub --------------------------------------------------------------------------

  let seen = null;
  let looking = false;
  let drawnAt = Date.now();

  const stateOf = (server) => (server.pending ?? (server.ready ? "ready" : "stopped"));
  const digest = (servers) =>
    JSON.stringify(Object.values(servers).map((server) => [server.name, stateOf(server)]).sort());

  function rememberFocus() {
    const active = document.activeElement;
    const card = active?.closest?.("[data-session]");
    return card && [card.dataset.session, active.dataset.action ?? ""];
  }

  function restoreFocus(place) {
    if (!place) return;
    const card = root.querySelector(`[data-session="${place[0]}"]`);
    const button = card?.querySelector(`[data-action="${place[1]}"]`) ?? card?.querySelector("a, button");
    button?.focus();
  }

  const wordsOf = (card) => card?.querySelector("[data-waiting]")?.textContent ?? card?.dataset.state;

  function tell(fresh) {
    const before = new Map([...root.querySelectorAll("[data-session]")].map((c) => [c.dataset.session, c]));
    const changes = [];
    for (const card of fresh.querySelectorAll("[data-session]")) {
      const old = before.get(card.dataset.session);
      const [was, is] = [wordsOf(old), wordsOf(card)];
      if (was !== is) changes.push(`${card.dataset.session}: ${is}`);
      before.delete(card.dataset.session);
    }
    for (const gone of before.keys()) changes.push(`${gone}: deleted`);
    if (changes.length) news.textContent = changes.join(", ");
  }

  async function redraw() {
    const response = await window.daas.call("GET", `${hub}home`, { xsrf });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const fresh = page.getElementById("sessions");
    if (!fresh) {
      // The login has ended: the hub answered with its login page.
      window.location.reload();
      return;
    }
    const place = rememberFocus();
    tell(fresh);
    root.replaceChildren(...fresh.childNodes);
    drawnAt = Date.now();
    window.daas.writeTimes(root);
    restoreFocus(place);
  }

  function writeAccess(servers) {
    for (const server of Object.values(servers)) {
      const element = root.querySelector(`[data-session="${server.name}"] .is-last-access time`);
      if (element && server.last_activity) element.dateTime = server.last_activity;
    }
    window.daas.writeTimes(root);
  }

  async function look(force = false) {
    if (!following || looking || document.getElementById("confirm").open) return;
    looking = true;
    try {
      const response = await window.daas.call("GET", `${person}?include_stopped_servers`, { xsrf });
      const { servers = {} } = await response.json();
      const now = digest(servers);
      const old = Date.now() - drawnAt > REDRAW_EVERY;
      // Where a start stands in the line is known by the page alone.
      const waits = root.querySelector("[data-waiting]") !== null;
      if (force || old || waits || (seen !== null && now !== seen)) await redraw();
      seen = now;
      writeAccess(servers);
    } catch {
      // The hub is away or restarting: what is shown stays, the next look tries again.
    } finally {
      looking = false;
    }
  }

  if (following) {
    look(true);
    window.setInterval(() => document.visibilityState === "visible" && look(), LOOK_EVERY);
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && look());
  }
})();
