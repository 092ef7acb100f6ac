// What moves on a page that is complete without it: times in the reader's zone, and rows that are refreshed where they are.
"use strict";
(() => {
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
  const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

  // Times in the reader's zone; the exact one, in his zone and in UTC, shows when he points at it.
  const localize = (root) => {
    for (const time of root.querySelectorAll("time[datetime]:not([data-local])")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      const today = at.toDateString() === new Date().toDateString();
      time.textContent = today ? clock.format(at) : `${day.format(at)}, ${clock.format(at)}`;
      time.title = `${exact.format(at)} (${at.toISOString()})`;
      time.dataset.local = "";
    }
  };

  // What the server said of each part when it was put in: the page itself changes (times, open details).
  const said = new WeakMap();
  const remember = (root) => {
    for (const part of root.querySelectorAll("[data-key], [data-part]")) said.set(part, part.outerHTML);
    localize(root);
  };
  const inUse = (part) => part.contains(document.activeElement) && document.activeElement !== document.body || part.querySelector("details[open]");

  const replace = (old, fresh) => {
    if (said.get(old) === fresh.outerHTML || inUse(old)) return false;
    const text = fresh.outerHTML;
    const put = document.adoptNode(fresh);
    old.replaceWith(put);
    said.set(put, text);
    localize(put);
    window.htmx?.process(put);
    return true;
  };

  // Parts (data-part) are replaced as they are; rows (data-key) in their places. Where rows come, go or move, the reader is
  // asked: nothing moves under his eyes.
  let latest = null;
  const merge = (page) => {
    for (const part of page.querySelectorAll("[data-part]")) {
      const old = document.querySelector(`[data-part="${CSS.escape(part.dataset.part)}"]`);
      if (old) replace(old, part.cloneNode(true));
    }
    const rows = new Map([...document.querySelectorAll("[data-key]")].map((row) => [row.dataset.key, row]));
    const fresh = [...page.querySelectorAll("[data-key]")];
    let news = 0;
    const keys = new Set();
    for (const row of fresh) {
      keys.add(row.dataset.key);
      const old = rows.get(row.dataset.key);
      if (!old) news += 1;
      else if (replace(old, row.cloneNode(true))) {
        const put = document.querySelector(`[data-key="${CSS.escape(row.dataset.key)}"]`);
        if (put?.dataset.quiet === undefined && put) {
          put.classList.add("fresh");
          setTimeout(() => put.classList.remove("fresh"), 1600);
        }
      }
    }
    for (const key of rows.keys()) if (!keys.has(key)) news += 1;
    latest = page;
    const button = document.getElementById("news");
    if (!button) return;
    button.hidden = news === 0;
    button.querySelector("[data-count]").textContent = String(news);
  };

  const showNews = () => {
    const list = document.querySelector("[data-live]");
    const fresh = latest?.querySelector("[data-live]");
    if (!list || !fresh) return;
    const put = document.adoptNode(fresh);
    list.replaceWith(put);
    remember(put);
    window.htmx?.process(put);
    document.getElementById("news").hidden = true;
  };

  let asked = 0;
  let waiting = null;
  const look = async () => {
    waiting = null;
    asked = Date.now();
    const url = location.href;
    try {
      const answer = await fetch(url, { headers: { accept: "text/html" }, cache: "no-store" });
      if (!answer.ok || answer.redirected) return;
      const text = await answer.text();
      // The reader went on meanwhile.
      if (url !== location.href) return;
      merge(new DOMParser().parseFromString(text, "text/html"));
      document.body.dataset.looked = String(Date.now());
    } catch { /* It is asked again. */ }
  };
  // A burst of changes is one look; no more than one in two seconds.
  const lookSoon = () => {
    if (waiting === null) waiting = setTimeout(look, Math.max(250, asked + 2000 - Date.now()));
  };

  let stream = null;
  const listen = () => {
    const live = document.querySelector("[data-live]");
    if (!live || document.hidden) {
      stream?.close();
      stream = null;
      return;
    }
    if (stream === null) {
      stream = new EventSource("/api/v2/stream");
      stream.addEventListener("change", lookSoon);
      stream.addEventListener("resync", lookSoon);
    }
  };

  document.addEventListener("DOMContentLoaded", () => {
    remember(document);
    listen();
    document.addEventListener("visibilitychange", () => {
      listen();
      if (!document.hidden && document.querySelector("[data-live]")) lookSoon();
    });
    // Figures change without a change of HAProxy.
    setInterval(() => { if (!document.hidden && document.querySelector("[data-live]")) lookSoon(); }, 10000);
    document.addEventListener("click", (event) => { if (event.target.closest("#news button")) showNews(); });
    document.body.addEventListener("htmx:afterSettle", () => { remember(document); listen(); });
    // A filter that is not set is not in the address.
    document.body.addEventListener("htmx:configRequest", (event) => {
      if (event.detail.verb !== "get") return;
      for (const [name, value] of [...event.detail.formData.entries()]) if (value === "") event.detail.formData.delete(name);
    });
  });
})();

// Rules are put in order by dragging; arrows and numbers do the same without.
(() => {
  let dragged = null;
  const rows = () => [...document.querySelectorAll("[data-sortable] > tr[data-ordered]")];
  const prepare = () => {
    for (const row of document.querySelectorAll("[data-sortable] > tr[data-movable]")) row.draggable = true;
    for (const field of document.querySelectorAll("[data-file-into]")) field.hidden = false;
  };
  const over = (event) => event.target.closest?.("[data-sortable] > tr[data-ordered]");
  const clear = () => { for (const row of document.querySelectorAll("tr.over")) row.classList.remove("over"); };
  document.addEventListener("dragstart", (event) => {
    dragged = event.target.closest?.("[data-sortable] > tr[data-movable]") ?? null;
    if (!dragged) return;
    dragged.classList.add("dragged");
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/plain", dragged.dataset.rule);
  });
  document.addEventListener("dragover", (event) => {
    const row = over(event);
    if (!dragged || !row) return;
    event.preventDefault();
    clear();
    row.classList.add("over");
  });
  document.addEventListener("drop", (event) => {
    const row = over(event);
    if (!dragged || !row || row === dragged) return;
    event.preventDefault();
    // Downwards it takes the place behind, upwards, and from among those without an order, the one before.
    const all = rows();
    const [from, to] = [all.indexOf(dragged), all.indexOf(row)];
    const before = from >= 0 && to > from ? all[to + 1] : row;
    const form = document.getElementById("move");
    form.elements.app.value = dragged.dataset.rule;
    form.elements.version.value = dragged.dataset.version;
    form.elements.before.value = before?.dataset.rule ?? "";
    form.submit();
  });
  document.addEventListener("dragend", () => { dragged?.classList.remove("dragged"); dragged = null; clear(); });
  // A file is read into the field, where it can be looked at before anything is sent.
  document.addEventListener("change", async (event) => {
    const into = event.target.closest?.("[data-file-into]")?.dataset.fileInto;
    const file = event.target.files?.[0];
    if (into && file) document.querySelector(into).value = await file.text();
  });
  document.addEventListener("DOMContentLoaded", () => {
    prepare();
    document.body.addEventListener("htmx:afterSettle", prepare);
  });
})();
