// The page of a layer: search, method, order, filter, size; all in the address.
"use strict";
{
  const $ = id => document.getElementById(id);
  const grid = $("grid"), controls = $("controls"), tip = $("tip"), page = document.body.dataset;
  const methods = JSON.parse(page.methods);
  const tiles = [...grid.querySelectorAll("li")].map((item, place) => {
    const link = item.firstElementChild, [picture, number, label] = link.children;
    return { item, link, picture, place, unit: +number.textContent, label: label ? label.textContent : "" };
  });
  const of_item = new Map(tiles.map(tile => [tile.item, tile]));
  const LATER = 300; // milliseconds until tiles beyond the window follow the first ones into their order
  const AHEAD = 400; // pixels beyond the window in which tiles fetch their pictures
  const NO_CAPTION = 64, NO_LABEL = 104; // sides of a tile below which they have no room

  // --- neighbours
  const all = self.CNNPREF_LAYERS ?? [], here = all.findIndex(([name]) => name === page.layer);
  const beside = document.querySelector(".beside");
  for (const [step, id] of [[-1, "before"], [1, "after"]]) {
    const other = all[here + step];
    if (here < 0 || !other) continue;
    const link = Object.assign(document.createElement("a"), { id, href: other[1], textContent: step < 0 ? `← ${other[0]}` : `${other[0]} →` });
    beside.append(link);
  }

  // --- state: method, order, filter, text, size of a tile
  const initial = () => ({ m: methods[0], s: "", f: "", q: "", t: innerWidth <= 560 ? 80 : 112 });
  let state = initial(), shown = tiles, order = tiles, shift = 0;

  function read() {
    const given = new URLSearchParams(location.hash.slice(1));
    state = initial();
    for (const key of Object.keys(state)) if (given.has(key)) state[key] = given.get(key);
    if (!methods.includes(state.m)) state.m = methods[0];
    state.t = Math.min(224, Math.max(40, +state.t || 112));
    for (const [id, key] of [["s", "s"], ["f", "f"]]) {
      $(id).value = state[key];
      if ($(id).selectedIndex < 0) $(id).value = state[key] = "";
    }
    if ($("q")) $("q").value = state.q;
    $("t").value = state.t;
    const radio = document.querySelector(`input[name=m][value="${CSS.escape(state.m)}"]`);
    if (radio) radio.checked = true;
  }
  function write() {
    const plain = initial(), told = new URLSearchParams();
    for (const [key, value] of Object.entries(state)) if (value !== plain[key]) told.set(key, value);
    const hash = `#${told}`;
    if (hash === (location.hash || "#")) return;
    try { history.replaceState(null, "", hash) } catch { location.replace(hash) }
  }

  // --- data: the scores of a method come when they are asked for
  const waiting = {};
  function data(method) {
    const place = methods.indexOf(method);
    if (self.CNNPREF_DATA?.[place]) return Promise.resolve(CNNPREF_DATA[place]);
    return waiting[place] ??= new Promise(done => {
      const script = document.createElement("script");
      script.src = `${page.pictures}/${method}/data.js`;
      script.onload = () => done(CNNPREF_DATA[place]);
      script.onerror = () => done({ values: {}, bad: {} });
      document.head.append(script);
    });
  }
  function styles(method) {
    const href = `${page.pictures}/${method}/sheets.css`;
    if ([...document.querySelectorAll("link[rel=stylesheet]")].some(link => link.getAttribute("href") === href)) return;
    document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href }));
  }

  // --- search: numbers by prefix, ranges, parts of labels; several with commas
  function matcher(text) {
    const tests = text.toLowerCase().split(",").map(part => part.trim()).filter(Boolean).map(part => {
      const range = part.match(/^(\d+)\s*[-–]\s*(\d+)$/);
      if (range) return tile => tile.unit >= +range[1] && tile.unit <= +range[2];
      if (/^\d+$/.test(part)) return tile => String(tile.unit).startsWith(part);
      return tile => tile.label.toLowerCase().includes(part);
    });
    return tests.length ? tile => tests.some(test => test(tile)) : () => true;
  }
  function kept(tile, bad) {
    const status = bad[tile.unit];
    return state.f === "" || (state.f === "ok" ? !status : state.f === "failed" ? !!status : status === state.f);
  }
  function compare(values, bad) {
    const sign = state.s.startsWith("-") ? -1 : 1, name = state.s.replace(/^-/, "");
    const words = new Intl.Collator(undefined, { numeric: true });
    if (name === "label") return (a, b) => (a.label === "") - (b.label === "") || words.compare(a.label, b.label) || a.place - b.place;
    if (name === "status") return (a, b) => (bad[b.unit] ? 1 : 0) - (bad[a.unit] ? 1 : 0) || a.place - b.place;
    const numbers = values[name] ?? [];
    return (a, b) => {
      const x = numbers[a.place], y = numbers[b.place];
      return (x == null) - (y == null) || sign * (x - y) || a.place - b.place;
    };
  }
  const figure = x => Math.abs(x) >= 1e7 || (x && Math.abs(x) < 1e-3) ? x.toExponential(1)
    : Math.abs(x) >= 100 ? Math.round(x).toLocaleString("en").replaceAll(",", "\u202f") : x.toPrecision(3);
  const worded = (name, x) => x == null ? "" : (name === "gain" ? `×${Math.abs(x) < 10 ? x.toFixed(1) : figure(x)}`
    : name === "selectivity_rank" ? `rank ${x}` : figure(x)).replace("-", "−");

  // --- what is shown
  async function apply() {
    write();
    const known = grid.dataset.method ?? methods[0], name = state.s.replace(/^-/, "");
    const wanted = state.m !== known || name || state.f;
    const { values, bad } = wanted || self.CNNPREF_DATA?.[methods.indexOf(state.m)] ? await data(state.m) : { values: {}, bad: null };
    if (bad && state.m !== grid.dataset.method) mark(bad);
    show_method();
    const found = matcher(state.q);
    shown = tiles.filter(tile => found(tile) && kept(tile, bad ?? {}));
    if (name) shown.sort(compare(values, bad ?? {}));
    caption(name, values[name]);
    single();
    place();
    $("count").textContent = shown.length === tiles.length ? `${tiles.length.toLocaleString("en")} unit${tiles.length === 1 ? "" : "s"}`
      : `${shown.length.toLocaleString("en")} of ${tiles.length.toLocaleString("en")}`;
    $("nothing").hidden = shown.length > 0;
    grid.hidden = !shown.length;
  }
  function mark(bad) {
    for (const { picture, unit } of tiles) {
      if (bad[unit]) picture.dataset.s = bad[unit]; else if (picture.dataset.s) delete picture.dataset.s;
    }
  }
  function show_method() {
    const place = methods.indexOf(state.m);
    styles(state.m);
    grid.dataset.method = state.m;
    grid.classList.remove(...methods.map((_, k) => `m${k}`));
    grid.classList.add(`m${place}`);
    grid.setAttribute("aria-label", `Units of ${page.layer}, pictures by ${state.m}`);
    methods.forEach((_, k) => { document.querySelector(`.of-m${k}`).hidden = k !== place });
  }
  let captioned = false;
  function caption(name, numbers) {
    if (numbers) for (const { link, place } of tiles) link.dataset.v = worded(name, numbers[place]);
    else if (captioned) for (const { link } of tiles) delete link.dataset.v;
    captioned = !!numbers;
  }
  // Only tiles near the window have pictures. In another order than the units', or of some of them,
  // a sheet would be fetched for each tile: single pictures then.
  const near = new Set();
  let one; // what comes before and after the unit in the address of a single picture; null: none
  const watch = new IntersectionObserver(seen => {
    for (const { target, isIntersecting } of seen) show(of_item.get(target), isIntersecting);
  }, { rootMargin: `${AHEAD}px` });
  function show(tile, is_near) {
    if (is_near) near.add(tile); else near.delete(tile);
    tile.item.classList.toggle("near", is_near);
    tile.picture.style.backgroundImage = one && is_near ? `url("${one[0]}${tile.unit}${one[1]}"), var(--mean)` : "";
  }
  function single() {
    const mixed = state.q || (state.s && state.s !== "status");
    const now = mixed ? [`${page.pictures}/${state.m}/`, state.t < NO_CAPTION ? "-small.webp" : ".webp"] : null;
    if (String(now) === String(one)) return;
    one = now;
    grid.classList.toggle("one", !!one);
    grid.classList.toggle("early", !one);
    watch.disconnect(); // and tell anew, once the tiles are in their order
    near.forEach(tile => show(tile, false));
    for (const { item } of tiles) watch.observe(item);
  }
  addEventListener("beforeprint", () => { rest(); tiles.forEach(tile => show(tile, true)) });
  let later = 0;
  function place() {
    const same = shown.length === order.length && shown.every((tile, k) => tile === order[k]);
    if (same) return;
    order = shown;
    clearTimeout(later);
    const first = 2 * rows() * columns;
    grid.replaceChildren(...shown.slice(0, first).map(tile => tile.item));
    roving(shown[0]);
    later = shown.length > first ? setTimeout(rest, LATER) : 0;
  }
  function rest() {
    if (!later) return;
    clearTimeout(later);
    later = 0;
    grid.append(...order.slice(grid.childElementCount).map(tile => tile.item));
  }

  // --- size: whole pixels; the width decides how many are in a row
  function fit() {
    const small = state.t < NO_CAPTION, gap = small ? 4 : 8, width = grid.clientWidth || grid.parentElement.clientWidth;
    const across = Math.max(1, Math.round((width + gap) / (+state.t + gap))), side = Math.floor((width - gap * (across - 1)) / across);
    grid.classList.toggle("small", small);
    grid.classList.toggle("narrow", side < NO_LABEL);
    grid.style.setProperty("--t", `${side}px`);
    grid.style.setProperty("--gap", `${across > 1 ? (width - across * side) / (across - 1) : gap}px`);
    grid.style.gridTemplateColumns = `repeat(${across}, ${side}px)`;
    columns = across;
  }
  let columns = 1;

  // --- keys: one tile has the tab stop
  let stop = null;
  function roving(tile) {
    if (stop) stop.link.tabIndex = -1;
    stop = tile ?? null;
    if (stop) stop.link.tabIndex = 0;
  }
  function go(step) {
    const at = order.indexOf(of_item.get(document.activeElement.parentElement));
    if (at < 0) { if (step !== 0 && order.length && document.activeElement === document.body) { focus(stop ?? order[0]); return } return false }
    focus(order[Math.min(order.length - 1, Math.max(0, at + step))]);
  }
  function focus(tile) {
    if (!tile.item.isConnected) rest();
    roving(tile);
    tile.link.focus();
    tile.item.scrollIntoView({ block: "nearest" });
  }
  const rows = () => Math.max(1, Math.floor(innerHeight / (+state.t + 33)));
  const inside = () => grid.contains(document.activeElement);
  const next = list => { list.selectedIndex = (list.selectedIndex + 1) % list.length; list.dispatchEvent(new Event("change")) };
  const resize = by => { $("t").value = +$("t").value + by; $("t").dispatchEvent(new Event("input")) };
  Object.assign(CNNPREF_KEYS, {
    ArrowRight: () => go(1), ArrowLeft: () => go(-1), ArrowDown: () => go(columns), ArrowUp: () => go(-columns),
    Home: () => inside() ? focus(order[0]) : false, End: () => inside() ? focus(order.at(-1)) : false,
    PageDown: () => inside() ? go(rows() * columns) : false, PageUp: () => inside() ? go(-rows() * columns) : false,
    "/": () => { if (!$("q")) return false; $("q").focus(); $("q").select() },
    m: () => { state.m = methods[(methods.indexOf(state.m) + 1) % methods.length]; write(); read(); apply() },
    s: () => next($("s")), "+": () => resize(16), "=": () => resize(16), "-": () => resize(-16),
  });
  grid.addEventListener("focusin", event => {
    const tile = of_item.get(event.target.parentElement);
    if (tile) { roving(tile); hint(tile) }
  });

  // --- a tip where there is no room for a caption
  function hint(tile) {
    if (!grid.classList.contains("small")) { tip.hidden = true; return }
    const box = tile.item.getBoundingClientRect(), value = tile.link.dataset.v;
    tip.textContent = [tile.unit, tile.label, value, tile.picture.dataset.s].filter(Boolean).join(" · ");
    tip.hidden = false;
    tip.style.left = `${Math.min(box.left + scrollX, scrollX + document.documentElement.clientWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${box.top + scrollY - tip.offsetHeight - 4}px`;
  }
  grid.addEventListener("pointerover", event => {
    const tile = of_item.get(event.target.closest("li"));
    if (tile) hint(tile);
  });
  grid.addEventListener("pointerleave", () => { tip.hidden = true });
  grid.addEventListener("focusout", () => { tip.hidden = true });

  // --- controls
  if ($("q")) {
    $("q").addEventListener("input", event => { state.q = event.target.value.trim(); apply() });
    $("q").addEventListener("keydown", event => {
      if (event.key === "Escape") { event.target.value = state.q = ""; event.target.blur(); apply() }
      if (event.key === "Enter" && shown.length) { event.preventDefault(); focus(shown[0]) }
    });
  }
  for (const id of ["s", "f"]) $(id).addEventListener("change", event => { state[id] = event.target.value; apply() });
  for (const radio of document.querySelectorAll("input[name=m]")) radio.addEventListener("change", event => { state.m = event.target.value; apply() });
  $("t").addEventListener("input", event => { state.t = +event.target.value; rest(); fit(); single(); write() });
  $("clear").addEventListener("click", () => { state.q = state.f = ""; write(); read(); apply() });
  controls.addEventListener("submit", event => event.preventDefault());
  addEventListener("hashchange", () => { read(); fit(); apply() });
  addEventListener("resize", () => { rest(); fit() });
  addEventListener("scroll", rest, { passive: true });

  controls.hidden = false;
  for (const { link } of tiles) link.tabIndex = -1;
  roving(tiles[0]);
  read();
  fit();
  apply();
}
