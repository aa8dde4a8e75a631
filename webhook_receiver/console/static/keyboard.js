"use strict";
// Keys of the console, as most consoles have them. None acts while somebody types, and all can be switched off: single
// keys get in the way of speech input (WCAG 2.1.4).
(() => {
  const OFF = "rushes-keys-off";
  const GO_MS = 1500;
  const root = document.documentElement.dataset.root;
  const help = document.getElementById("keys");
  const button = document.getElementById("keys-button");
  const links = () => [...document.querySelectorAll("main .row-link, main tbody a")].filter((link) => link.checkVisibility());
  let goUntil = 0;

  function isOff() {
    try {
      return localStorage.getItem(OFF) !== null;
    } catch {
      return false; // without storage the keys are on
    }
  }

  function turn(off) {
    try {
      if (off) localStorage.setItem(OFF, "1");
      else localStorage.removeItem(OFF);
    } catch {
      // then it holds for no other page
    }
  }

  /** Focus the next (1) or the previous (-1) row; Enter then opens it, since it is a link. */
  function move(step) {
    const rows = links();
    const at = rows.findIndex((link) => link === document.activeElement || link.closest("li, tr")?.contains(document.activeElement));
    const next = rows[at < 0 ? (step > 0 ? 0 : rows.length - 1) : at + step];
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  }

  function search() {
    const field = document.querySelector('input[type="search"]');
    if (field) {
      field.focus();
      field.select();
    } else {
      location.assign(`${root}/#search`);
    }
  }

  function go(key) {
    const target = document.querySelector(`[data-go="${CSS.escape(key)}"]`);
    if (target) location.assign(target.href);
  }

  const toggleHelp = () => (help.open ? help.close() : help.showModal());
  const ACTIONS = { "/": search, j: () => move(1), k: () => move(-1), "?": toggleHelp };

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
    if (typing || event.isComposing || event.ctrlKey || event.metaKey || event.altKey || isOff()) return;
    if (help.open && event.key !== "?") return;
    if (event.timeStamp < goUntil) {
      goUntil = 0;
      event.preventDefault();
      go(event.key);
    } else if (event.key === "g") {
      goUntil = event.timeStamp + GO_MS;
    } else if (Object.hasOwn(ACTIONS, event.key)) {
      event.preventDefault();
      ACTIONS[event.key]();
    }
  });

  const box = document.getElementById("keys-on");
  box.checked = !isOff();
  box.addEventListener("change", () => turn(!box.checked));
  button.hidden = false;
  button.addEventListener("click", toggleHelp);
  if (location.hash === "#search") {
    history.replaceState(null, "", location.pathname + location.search);
    search();
  }
})();
