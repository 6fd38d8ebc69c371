// The progress of a start: messages as they come, the session when it is ready, the reason when it failed.
(() => {
  "use strict";

  const root = document.getElementById("pending");
  const { progress, server, hub, xsrf } = root.dataset;
  const meter = document.getElementById("progress");
  const message = document.getElementById("progress-message");
  const log = document.getElementById("progress-log");
  const waiting = document.getElementById("progress-waiting");
  const stop = document.getElementById("stop");

  function show(event) {
    if (event.progress !== undefined) {
      meter.setAttribute("aria-valuenow", String(event.progress));
      document.getElementById("progress-bar").style.width = `${event.progress}%`;
    }
    if (event.message) {
      waiting.hidden = !/^Waiting for .*(before you|next)$/.test(event.message);
      message.textContent = event.message;
      const line = document.createElement("li");
      line.textContent = event.message;
      log.append(line);
    }
  }

  function fail(reason) {
    meter.classList.add("is-failed");
    message.textContent = "";
    waiting.hidden = true;
    document.getElementById("progress-reason").textContent = reason;
    document.getElementById("progress-failed").hidden = false;
    stop.hidden = true;
  }

  const events = new EventSource(progress);
  events.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    if (event.failed) {
      events.close();
      fail((event.message ?? "").replace(/^Spawn failed:?\s*/, ""));
    } else if (event.ready) {
      events.close();
      show({ progress: 100, message: "Ready. Opening the session." });
      window.location.assign(event.url);
    } else {
      show(event);
    }
  };
  events.onerror = () => {
    // Closed for good means that nothing is starting any more: the page itself knows what is.
    if (events.readyState === EventSource.CLOSED) window.setTimeout(() => window.location.reload(), 2000);
  };

  stop.addEventListener("click", async () => {
    stop.disabled = true;
    message.textContent = "Stopping …";
    // Whatever the start still says: the person does not want it any more.
    events.close();
    try {
      await window.daas.end(server, { xsrf });
      window.location.assign(`${hub}home`);
    } catch (error) {
      message.textContent = error.message;
      stop.disabled = false;
    }
  });
})();
