// What all pages share: light or dark, the list of keys, keys that lead to another page.
"use strict";
{
  const $ = id => document.getElementById(id);
  const root = document.documentElement, theme = $("theme"), help = $("help"), keys = $("keys");

  theme.hidden = help.hidden = false;
  theme.onclick = () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("cnnpref-theme", root.dataset.theme) } catch { /* no storage here */ }
  };
  help.onclick = () => keys.showModal();
  keys.onclick = event => { if (event.target === keys) keys.close() };

  const writes = target => target.matches("input:not([type=radio], [type=range]), select, textarea");
  const follow = id => { const link = $(id); if (link) location.href = link.href };

  // A page adds its own keys: CNNPREF_KEYS[key] = event => ...; one that returns false did nothing.
  self.CNNPREF_KEYS = { "?": () => keys.showModal(), "[": () => follow("before"), "]": () => follow("after"), u: up };

  function up() {
    const crumbs = document.querySelectorAll(".crumbs a");
    if (crumbs.length) location.href = crumbs[crumbs.length - 1].href;
  }
  addEventListener("keydown", event => {
    if (event.ctrlKey || event.altKey || event.metaKey || keys.open || writes(event.target)) return;
    const act = CNNPREF_KEYS[event.key];
    if (act && act(event) !== false) event.preventDefault();
  });

  // The page of a run: m is the next method.
  if (document.body.classList.contains("overview")) {
    CNNPREF_KEYS.m = () => {
      const all = [...document.querySelectorAll(".switch input")];
      if (!all.length) return false;
      all[(all.findIndex(input => input.checked) + 1) % all.length].click();
    };
  }
}
