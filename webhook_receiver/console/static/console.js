"use strict";
// Helpers of the console. Every page works without them, but does not refresh itself.
(() => {
  const REFRESH_S = 3;
  const root = document.documentElement.dataset.root; // the path under which a proxy serves the console
  const token = document.querySelector('meta[name="csrf-token"]')?.content ?? "";
  const byId = (id) => document.getElementById(id);

  function showAlert(text) {
    const element = byId("alert");
    element.textContent = text;
    element.hidden = !text;
  }

  /** Call a route of the receiver, given without the root: JSON in and out, with the CSRF token. An error is shown on the page and thrown. */
  async function api(path, options = {}) {
    const headers = { Accept: "application/json", "X-CSRF-Token": token, ...options.headers };
    let body = options.body;
    if (body && !(body instanceof FormData) && !(body instanceof Blob) && typeof body !== "string") {
      body = JSON.stringify(body);
      headers["Content-Type"] = "application/json";
    }
    if (!options.quiet) showAlert("");
    let response;
    try {
      response = await fetch(root + path, { ...options, headers, body, credentials: "same-origin" });
    } catch {
      return fail(new Error("The receiver is out of reach. Look at your network, then try again."), options);
    }
    const data = await response.json().catch(() => null);
    if (response.ok) return data;
    const error = new Error(data?.error?.message ?? `The receiver answered ${response.status}. Try again.`);
    return fail(Object.assign(error, { status: response.status, code: data?.error?.code, fields: data?.error?.fields }), options);
  }

  function fail(error, options) {
    if (!options.quiet) showAlert(error.message);
    throw error;
  }

  // --- parts marked data-live follow the server: the page is fetched again, and only differences are applied

  const keyOf = (node) => (node.nodeType === 1 ? node.id || node.dataset.key || "" : "");
  const isSameNode = (old, fresh) => old.nodeName === fresh.nodeName && keyOf(old) === keyOf(fresh);
  const MEDIA = new Set(["src", "poster", "data-first-frame"]);
  const withoutQuery = (url) => (url ?? "").split("?")[0];

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
    // The same file under a newer signature is not loaded again, or a playing clip would start over. It is loaded again
    // after an error, because its old signature may have expired.
    const isSameFile = (name, value) =>
      media && MEDIA.has(name) && withoutQuery(old.getAttribute(name)) === withoutQuery(value) && !(old.controls && old.error);
    for (const { name, value } of [...fresh.attributes]) {
      if (isSameFile(name, value)) continue;
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      const setByScript = (name === "open" && old.nodeName === "DETAILS") || (media && old.dataset.firstFrame);
      if (!fresh.hasAttribute(name) && !setByScript) old.removeAttribute(name);
    }
  }

  function children(old, fresh) {
    const freshNodes = [...fresh.childNodes];
    const freshKeys = new Set(freshNodes.map(keyOf).filter(Boolean));
    const oldByKey = new Map([...old.childNodes].filter(keyOf).map((node) => [keyOf(node), node]));
    let at = old.firstChild;
    const skip = () => {
      while (at && keyOf(at) && !freshKeys.has(keyOf(at))) at = drop(at);
    };
    for (const node of freshNodes) {
      skip();
      const existing = keyOf(node) && oldByKey.get(keyOf(node));
      if (at && isSameNode(at, node)) {
        morph(at, node);
        at = at.nextSibling;
      } else if (existing && isSameNode(existing, node)) {
        old.insertBefore(existing, at);
        morph(existing, node);
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
    const label = byId("live-state");
    if (!label || label.textContent === text) return;
    label.dataset.tone = tone;
    label.textContent = text;
  }

  async function refresh() {
    if (document.hidden) return;
    try {
      const response = await fetch(location.href, { headers: { Accept: "text/html" }, credentials: "same-origin" });
      if (response.redirected && new URL(response.url).pathname === `${root}/sign-in`) {
        liveState("bad", "Signed out");
        showAlert("You are signed out. Load the page again to sign in.");
        return;
      }
      if (!response.ok) throw new Error(String(response.status));
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
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

  /** Fill a part with the same part of another page, so that a slow part does not delay this page. */
  async function load(part) {
    try {
      const response = await fetch(part.dataset.load, { headers: { Accept: "text/html" }, credentials: "same-origin" });
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const fresh = page.getElementById(part.id);
      if (response.ok && fresh) part.replaceChildren(...document.importNode(fresh, true).childNodes);
    } catch {
      // The link in the part still leads there.
    }
  }

  // --- a job without a thumbnail shows the first frame of its clip, once the row is visible

  const visibleVideos = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      visibleVideos.unobserve(target);
      target.preload = "metadata";
      target.src = `${target.dataset.firstFrame}#t=0.1`;
    }
  });
  const showFrames = () => document.querySelectorAll("video[data-first-frame]:not([src])").forEach((video) => visibleVideos.observe(video));

  async function follow() {
    for (;;) {
      const pause_s = Number(document.querySelector("[data-refresh-s]")?.dataset.refreshS) || REFRESH_S;
      await new Promise((done) => setTimeout(done, pause_s * 1000));
      await refresh();
    }
  }

  // --- forms are sent once; filters apply at once

  document.addEventListener("submit", (event) => {
    if (event.defaultPrevented || event.target.method !== "post") return;
    setTimeout(() => event.target.querySelectorAll("button").forEach((button) => (button.disabled = true)));
  });
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("form[data-auto] select")) event.target.form.requestSubmit();
  });
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("button[data-copy]");
    if (!button) return;
    await navigator.clipboard?.writeText(button.dataset.copy);
    button.textContent = "Copied";
  });

  // The text of the last action is shown once.
  const url = new URL(location.href);
  if (url.searchParams.has("done")) {
    url.searchParams.delete("done");
    history.replaceState(null, "", url);
  }
  if (document.querySelector("[data-live]")) {
    liveState("good", "Live");
    follow();
  }
  showFrames();
  document.querySelectorAll("[data-load][id]").forEach(load);
  window.rushes = { api, showAlert, refresh };
})();
