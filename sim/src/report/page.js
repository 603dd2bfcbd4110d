"use strict";
(() => {
  const root = document.documentElement;
  const complain = (what) => { root.dataset.error = what; };
  addEventListener("error", (event) => complain(event.message));
  document.addEventListener("securitypolicyviolation", (event) => complain(`refused: ${event.violatedDirective}`));

  const SVG = "http://www.w3.org/2000/svg";
  const SECOND = 1e9, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE;
  const UNITS = [[SECOND, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]];
  const STEPS_SHOWN = 8, LAST_LABEL = 95, LEAST_PIXELS = 3, LEAST_SPAN = 8;
  // Left of all that can be seen.
  const AWAY = "-101%";

  const byId = (id) => document.getElementById(id);
  const timeline = byId("timeline");
  const begin = Number(timeline.dataset.begin), span = Number(timeline.dataset.span);
  const steps = timeline.dataset.steps.split(" ").map(Number);

  // Nanoseconds since the beginning.
  let view = { from: 0, to: span };
  const lanes = [...timeline.querySelectorAll(".lane")];
  const byKey = new Map();
  const items = [...timeline.querySelectorAll("[data-from]")].map((element) => {
    const { key, from, to } = element.dataset;
    const title = element.querySelector("title");
    if (title) {
      // Shown below, so not as a tooltip too.
      element.setAttribute("aria-label", title.textContent);
      title.remove();
    }
    if (key) byKey.set(key, [...(byKey.get(key) ?? []), element]);
    return {
      element, from: Number(from), to: Number(to), lane: element.closest(".lane"),
      isPoint: !element.hasAttribute("width"), pending: element.querySelector(".pending"),
    };
  });

  // The axis, as the page comes with it for all of the run.

  const fraction = (at, step, unit) => {
    let digits = 0;
    for (let part = unit; step % part !== 0; part /= 10) digits++;
    return digits ? `.${String(at % unit).padStart(Math.log10(unit), "0").slice(0, digits)}` : "";
  };
  const two = (number) => String(Math.floor(number)).padStart(2, "0");
  const label = (at, step, last) => {
    if (last < 2 * MINUTE) {
      const [unit, name] = UNITS.find(([unit]) => last >= unit) ?? UNITS[3];
      return `${Math.floor(at / unit)}${fraction(at, step, unit)} ${name}`;
    }
    const seconds = two(at % MINUTE / SECOND) + fraction(at, step, SECOND);
    if (last < HOUR) return `${Math.floor(at / MINUTE)}:${seconds}`;
    return `${Math.floor(at / HOUR)}:${two(at % HOUR / MINUTE)}:${seconds}`;
  };
  const percent = (value) => `${value.toFixed(4)}%`;
  const added = (parent, name, attributes) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return parent.appendChild(element);
  };
  const drawAxis = () => {
    const [from, to] = [begin + view.from, begin + view.to];
    const step = steps.find((step) => Math.floor((to - from) / step) <= STEPS_SHOWN) ?? steps.at(-1);
    byId("labels").replaceChildren();
    byId("lines").replaceChildren();
    for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
      const place = 100 * (at - from) / (to - from);
      added(byId("lines"), "line", { x1: percent(place), x2: percent(place), y2: "100%" });
      if (place > LAST_LABEL) continue;
      added(byId("labels"), "text", { x: percent(place), y: 15, dx: 3 }).textContent = label(at, step, to);
    }
    const exact = steps.findLast((step) => 1000 * step <= to - from) ?? 1;
    byId("view").textContent = `${label(from, exact, to)} to ${label(to, exact, to)}`;
  };

  const draw = () => {
    const scale = 100 / (view.to - view.from);
    const place = (at) => Math.min(100, Math.max(0, (at - view.from) * scale));
    const width = timeline.querySelector(".track").getBoundingClientRect().width || 1000;
    const least = 100 * LEAST_PIXELS / width;
    for (const item of items) {
      if (item.lane?.hidden) continue;
      const { element, from, to, pending } = item;
      if (to < view.from || from > view.to) {
        // Not hidden: what is hidden loses the focus.
        element.setAttribute("x", AWAY);
        continue;
      }
      const left = place(from);
      element.setAttribute("x", percent(left));
      if (item.isPoint) continue;
      const wide = Math.max(least, place(to) - left);
      element.setAttribute("width", percent(wide));
      if (pending) pending.setAttribute("width", percent(100 * (place(Number(pending.dataset.until)) - left) / wide));
    }
    drawAxis();
  };

  let frame = 0, written = 0;
  const changed = () => {
    frame ||= requestAnimationFrame(() => { frame = 0; draw(); });
    clearTimeout(written);
    written = setTimeout(remember, 250);
  };
  const show = (from, to) => {
    const length = Math.min(span, Math.max(Math.min(LEAST_SPAN, span), Math.round(to - from)));
    const start = Math.min(span - length, Math.max(0, Math.round(from)));
    view = { from: start, to: start + length };
    changed();
  };
  const zoom = (factor, centre = (view.from + view.to) / 2) =>
    show(centre - (centre - view.from) * factor, centre + (view.to - centre) * factor);
  const pan = (part) => {
    const by = part * (view.to - view.from);
    show(view.from + by, view.to + by);
  };
  const showAll = () => show(0, span);
  const showFailure = () => {
    const failure = timeline.querySelector(".mark.failure");
    if (!failure) return;
    const at = Number(failure.dataset.from), length = (view.to - view.from) / 4;
    show(at - length / 2, at + length / 2);
    focus(failure);
  };

  const filter = () => {
    const words = byId("filter").value.toLowerCase().split(",").map((word) => word.trim()).filter(Boolean);
    const names = lanes.map((lane) => lane.dataset.name.toLowerCase());
    const matches = (name, word) => (names.includes(word) ? name === word : name.includes(word));
    lanes.forEach((lane, index) => {
      const isWanted = words.length === 0 || words.some((word) => matches(names[index], word));
      lane.hidden = lane.classList.contains("host") && !isWanted;
    });
    if (reachable?.closest(".lane").hidden) makeReachable(timeline.querySelector(".lane:not([hidden]) [data-key]"));
    changed();
  };

  // A link to what is shown: #from=1000&to=2000&hosts=alice
  const remember = () => {
    const hosts = byId("filter").value;
    const state = new URLSearchParams();
    if (view.from > 0 || view.to < span) {
      state.set("from", view.from);
      state.set("to", view.to);
    }
    if (hosts) state.set("hosts", hosts);
    history.replaceState(null, "", `#${state}`);
  };
  const recall = () => {
    const state = new URLSearchParams(location.hash.slice(1));
    const [from, to] = [Number(state.get("from") ?? 0), Number(state.get("to") ?? span)];
    byId("filter").value = state.get("hosts") ?? "";
    filter();
    if (from < to) show(from, to);
  };

  const details = byId("details");
  let current = null;
  const describe = (element) => {
    for (const same of byKey.get(current?.dataset.key) ?? []) same.classList.remove("same");
    current = element;
    for (const same of byKey.get(element.dataset.key)) same.classList.add("same");
    details.textContent = element.getAttribute("aria-label");
    details.classList.toggle("failure", element.classList.contains("failure"));
  };
  let reachable = null;
  const makeReachable = (element) => {
    reachable?.setAttribute("tabindex", "-1");
    element?.setAttribute("tabindex", "0");
    reachable = element;
  };
  const focus = (element) => {
    const from = Number(element.dataset.from), to = Number(element.dataset.to);
    if (to < view.from || from > view.to) show(from - (view.to - view.from) / 2, from + (view.to - view.from) / 2);
    makeReachable(element);
    element.focus({ preventScroll: true });
    element.closest(".lane").scrollIntoView({ block: "nearest" });
  };
  timeline.addEventListener("pointerover", (event) => {
    const element = event.target.closest("[data-key]");
    if (element) describe(element);
  });
  timeline.addEventListener("focusin", (event) => {
    const element = event.target.closest("[data-key]");
    if (element) describe(element);
  });
  timeline.addEventListener("pointerleave", () => {
    const element = document.activeElement.closest("[data-key]");
    if (element) describe(element);
  });

  // Each lane's items in the order of time; the arrows go through them.
  const itemsOf = (lane) => [...lane.querySelectorAll("[data-key]")]
    .sort((one, other) => Number(one.dataset.from) - Number(other.dataset.from));
  const beside = (element, by) => {
    const all = itemsOf(element.closest(".lane"));
    return all[all.indexOf(element) + by];
  };
  const inLane = (element, by) => {
    const visible = lanes.filter((lane) => !lane.hidden);
    const lane = visible[visible.indexOf(element.closest(".lane")) + by];
    if (!lane) return undefined;
    const away = (other) => Math.abs(Number(other.dataset.from) - Number(element.dataset.from));
    return itemsOf(lane).sort((one, other) => away(one) - away(other))[0];
  };
  const neighbours = {
    ArrowLeft: (element) => beside(element, -1), ArrowRight: (element) => beside(element, 1),
    ArrowUp: (element) => inLane(element, -1), ArrowDown: (element) => inLane(element, 1),
  };
  const actions = {
    "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), "0": showAll, f: showFailure,
  };
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input") || event.ctrlKey || event.altKey || event.metaKey) return;
    const element = event.target.closest("[data-key]");
    if (event.shiftKey && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
      pan(event.key === "ArrowLeft" ? -0.25 : 0.25);
    } else if (element && neighbours[event.key]) {
      const next = neighbours[event.key](element);
      if (next) focus(next);
    } else if (actions[event.key]) {
      actions[event.key]();
    } else {
      return;
    }
    event.preventDefault();
  });

  // The instant under the pointer.
  const instantAt = (event) => {
    const box = timeline.querySelector(".track").getBoundingClientRect();
    return view.from + (event.clientX - box.left) / box.width * (view.to - view.from);
  };
  timeline.addEventListener("wheel", (event) => {
    if (event.ctrlKey) {
      zoom(event.deltaY > 0 ? 1.25 : 0.8, instantAt(event));
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      pan((event.deltaX || event.deltaY) / 1000);
    } else {
      return;
    }
    event.preventDefault();
  }, { passive: false });
  let dragged = null;
  timeline.addEventListener("pointerdown", (event) => {
    if (event.button === 0 && event.target.closest(".track")) dragged = { x: event.clientX, view };
  });
  addEventListener("pointermove", (event) => {
    if (!dragged) return;
    const width = timeline.querySelector(".track").getBoundingClientRect().width;
    const by = (dragged.x - event.clientX) / width * (dragged.view.to - dragged.view.from);
    timeline.classList.add("dragged");
    show(dragged.view.from + by, dragged.view.to + by);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    addEventListener(name, () => { dragged = null; timeline.classList.remove("dragged"); });
  }

  byId("zoom-in").addEventListener("click", () => zoom(0.5));
  byId("zoom-out").addEventListener("click", () => zoom(2));
  byId("earlier").addEventListener("click", () => pan(-0.25));
  byId("later").addEventListener("click", () => pan(0.25));
  byId("whole").addEventListener("click", showAll);
  byId("to-failure").addEventListener("click", showFailure);
  byId("filter").addEventListener("input", filter);
  addEventListener("hashchange", recall);
  addEventListener("resize", changed);

  const failure = timeline.querySelector(".mark.failure");
  byId("to-failure").hidden = !failure;
  byId("controls").hidden = false;
  document.querySelector(".keys").hidden = false;
  makeReachable(failure ?? timeline.querySelector("[data-key]"));
  if (failure) describe(failure);
  recall();
  draw();
  root.dataset.ready = "true";
})();
