"use strict";
// Small helpers of the console; every page works without them, save that it does not move by itself.
(() => {
  const REFRESH_S = 3;
  const token = document.querySelector('meta[name="csrf-token"]')?.content ?? "";
  const byId = (id) => document.getElementById(id);

  function alertWith(text) {
    const place = byId("alert");
    place.textContent = text;
    place.hidden = !text;
  }

  /** Call a door of ours: JSON in and out, the token along; what goes wrong is shown on the page and thrown. */
  async function api(path, options = {}) {
    const headers = { Accept: "application/json", "X-CSRF-Token": token, ...options.headers };
    let body = options.body;
    if (body && !(body instanceof FormData) && !(body instanceof Blob) && typeof body !== "string") {
      body = JSON.stringify(body);
      headers["Content-Type"] = "application/json";
    }
    if (!options.quiet) alertWith("");
    let answer;
    try {
      answer = await fetch(path, { ...options, headers, body, credentials: "same-origin" });
    } catch {
      return fail(new Error("The receiver is out of reach. Look at your network, then try again."), options);
    }
    const told = await answer.json().catch(() => null);
    if (answer.ok) return told;
    const error = new Error(told?.error?.message ?? `The receiver answered ${answer.status}. Try again.`);
    return fail(Object.assign(error, { status: answer.status, code: told?.error?.code, fields: told?.error?.fields }), options);
  }

  function fail(error, options) {
    if (!options.quiet) alertWith(error.message);
    throw error;
  }

  // --- what is marked data-live follows the server: the same page again, and only what differs is changed

  const keyOf = (node) => (node.nodeType === 1 ? node.id || node.dataset.key || "" : "");
  const alike = (old, fresh) => old.nodeName === fresh.nodeName && keyOf(old) === keyOf(fresh);
  const MEDIA = new Set(["src", "poster", "data-first-frame"]);
  const place = (url) => (url ?? "").split("?")[0];

  function morph(old, fresh) {
    if (old.nodeType !== 1) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    if (old.hasAttribute("data-keep") && fresh.hasAttribute("data-keep")) return;
    attributes(old, fresh);
    children(old, fresh);
  }

  function attributes(old, fresh) {
    const media = /^(IMG|VIDEO|SOURCE)$/.test(old.nodeName);
    // The same file under a newer signature is not loaded again, so that a clip that plays goes on; one whose signature
    // has run out meanwhile is.
    const holds = (name, value) =>
      media && MEDIA.has(name) && place(old.getAttribute(name)) === place(value) && !(old.controls && old.error);
    for (const { name, value } of [...fresh.attributes]) {
      if (holds(name, value)) continue;
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      const ours = (name === "open" && old.nodeName === "DETAILS") || (media && old.dataset.firstFrame);
      if (!fresh.hasAttribute(name) && !ours) old.removeAttribute(name);
    }
  }

  function children(old, fresh) {
    const wanted = [...fresh.childNodes];
    const stays = new Set(wanted.map(keyOf).filter(Boolean));
    const held = new Map([...old.childNodes].filter(keyOf).map((node) => [keyOf(node), node]));
    let at = old.firstChild;
    const skip = () => {
      while (at && keyOf(at) && !stays.has(keyOf(at))) at = drop(at);
    };
    for (const node of wanted) {
      skip();
      const known = keyOf(node) && held.get(keyOf(node));
      if (at && alike(at, node)) {
        morph(at, node);
        at = at.nextSibling;
      } else if (known && alike(known, node)) {
        old.insertBefore(known, at);
        morph(known, node);
      } else {
        old.insertBefore(document.importNode(node, true), at);
        if (at && !keyOf(at) && !keyOf(node)) at = drop(at);
      }
    }
    while (at) at = drop(at);
  }

  function drop(node) {
    const next = node.nextSibling;
    node.remove();
    return next;
  }

  function liveState(tone, text) {
    const shown = byId("live-state");
    if (!shown || shown.textContent === text) return;
    shown.dataset.tone = tone;
    shown.textContent = text;
  }

  async function refresh() {
    if (document.hidden) return;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, credentials: "same-origin" });
      if (answer.redirected && new URL(answer.url).pathname === "/sign-in") {
        liveState("bad", "Signed out");
        alertWith("You are signed out. Load the page again to sign in.");
        return;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-live][id]")) {
        const fresh = page.getElementById(part.id);
        if (fresh) morph(part, fresh);
      }
      for (const part of document.querySelectorAll("[data-load][id]")) {
        const mark = page.getElementById(part.id)?.dataset.mark;
        if (mark !== undefined && mark !== part.dataset.mark) {
          part.dataset.mark = mark;
          load(part);
        }
      }
      showFrames();
      liveState("good", "Live");
    } catch {
      liveState("bad", "Out of reach, trying again");
    }
  }

  /** Fill a part with the same part of another page: what takes longer to find is not waited for. */
  async function load(part) {
    try {
      const answer = await fetch(part.dataset.load, { headers: { Accept: "text/html" }, credentials: "same-origin" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById(part.id);
      if (answer.ok && fresh) part.replaceChildren(...document.importNode(fresh, true).childNodes);
    } catch {
      // The link in it still leads there.
    }
  }

  // --- a job without a thumbnail shows the first frame of its clip, once it is looked at

  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      target.preload = "metadata";
      target.src = `${target.dataset.firstFrame}#t=0.1`;
    }
  });
  const showFrames = () => document.querySelectorAll("video[data-first-frame]:not([src])").forEach((one) => seen.observe(one));

  async function follow() {
    for (;;) {
      const pause_s = Number(document.querySelector("[data-refresh-s]")?.dataset.refreshS) || REFRESH_S;
      await new Promise((done) => setTimeout(done, pause_s * 1000));
      await refresh();
    }
  }

  // --- forms: sent once, and filters apply by themselves

  document.addEventListener("submit", (event) => {
    if (event.defaultPrevented || event.target.method === "get") return;
    setTimeout(() => event.target.querySelectorAll("button").forEach((button) => (button.disabled = true)));
  });
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("form[data-auto] select")) event.target.form.requestSubmit();
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const search = document.querySelector('input[type="search"]');
    if (search) {
      event.preventDefault();
      search.focus();
    }
  });
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("button[data-copy]");
    if (!button) return;
    await navigator.clipboard?.writeText(button.dataset.copy);
    button.textContent = "Copied";
  });

  // What a redirect said is said once.
  const here = new URL(location.href);
  if (here.searchParams.has("said")) {
    here.searchParams.delete("said");
    history.replaceState(null, "", here);
  }
  if (document.querySelector("[data-live]")) {
    liveState("good", "Live");
    follow();
  }
  showFrames();
  document.querySelectorAll("[data-load][id]").forEach(load);
  window.rushes = { api, alertWith, refresh };
})();
