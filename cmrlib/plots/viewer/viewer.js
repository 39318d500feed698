// Several views of one heart, in step by cardiac phase: drawn here, so that playing needs no kernel.
// Pixels come as uint8 (frames × rows × columns), masks as label codes of the same shape.

const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
const colour = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

function element(tag, properties = {}, children = []) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// Frame of a view that lies nearest to a phase of the cycle, going round.
export function nearestFrame(phases, phase) {
  let best = 0, least = 2;
  phases.forEach((p, t) => {
    const apart = Math.abs(p - phase);
    const distance = Math.min(apart, 1 - apart);
    if (distance < least) { least = distance; best = t; }
  });
  return best;
}

// Label codes of one frame → RGBA: the first observer's areas are tinted, every observer's borders are drawn.
export function paintLabels(out, labels, rows, columns, palette, opacity, filled) {
  for (let i = 0, n = rows * columns; i < n; i++) {
    const code = labels[i], rgb = palette[code];
    if (!rgb) continue;
    const c = i % columns;
    const border = (c > 0 && labels[i - 1] !== code) || (c < columns - 1 && labels[i + 1] !== code)
      || (i >= columns && labels[i - columns] !== code) || (i < n - columns && labels[i + columns] !== code);
    const share = border ? Math.min(1, 0.35 + opacity) : filled ? opacity * 0.4 : 0;
    if (!opacity || !share) continue;
    for (let k = 0; k < 3; k++) out[4 * i + k] = out[4 * i + k] * (1 - share) + (filled ? rgb[k] : 255 - (255 - rgb[k]) / 2) * share;
  }
}

class Panel {
  constructor(model, index) {
    this.model = model;
    this.index = index;
    this.canvas = element("canvas", { className: "cmr-cine" });
    this.title = element("div", { className: "cmr-title" });
    this.slices = element("input", { type: "range", min: 0, value: 0, title: "slice" });
    this.slices.addEventListener("input", () => {
      const chosen = [...model.get("slices")];
      chosen[index] = Number(this.slices.value);
      model.set("slices", chosen);
      model.save_changes();
    });
    this.canvas.addEventListener("pointermove", (event) => event.buttons && this.dragged(event));
    this.node = element("div", { className: "cmr-panel" }, [this.title, this.canvas, this.slices]);
    this.image = document.createElement("canvas");
  }

  // As on a workstation: dragging across changes contrast, dragging up and down changes brightness.
  dragged(event) {
    this.model.set("window", Math.min(510, Math.max(8, this.model.get("window") + event.movementX)));
    this.model.set("level", Math.min(255, Math.max(0, this.model.get("level") + event.movementY)));
    this.model.save_changes();
  }

  load() {
    const about = this.model.get("views")[this.index];
    this.about = about;
    this.pixels = bytes(about.pixels);
    this.layers = about.layers.map((layer) => ({ ...layer, labels: layer.labels && bytes(layer.labels) }));
    this.image.width = about.columns;
    this.image.height = about.rows;
    this.fit();
    this.slices.max = about.slices - 1;
    this.slices.style.visibility = about.slices > 1 ? "visible" : "hidden";
    this.slices.value = this.model.get("slices")[this.index];
  }

  // The part of the picture that is shown: around the heart, or all of it.
  fit() {
    const { rows, columns, aspect, box } = this.about;
    const [row0, row1, column0, column1] = this.model.get("zoom") ? box : [0, rows - 1, 0, columns - 1];
    this.part = [column0, row0, column1 - column0 + 1, row1 - row0 + 1];
    const height = this.part[3] * aspect, scale = 340 / Math.max(height, this.part[2]);
    this.canvas.width = Math.round(this.part[2] * scale);
    this.canvas.height = Math.round(height * scale);
  }

  draw(phase) {
    const { rows, columns, frames, phases, name, times_ms, marks } = this.about;
    const t = nearestFrame(phases, phase), n = rows * columns;
    const context = this.image.getContext("2d"), picture = context.createImageData(columns, rows), out = picture.data;
    const low = this.model.get("level") - this.model.get("window") / 2, gain = 255 / this.model.get("window");
    for (let i = 0; i < n; i++) {
      out[4 * i] = out[4 * i + 1] = out[4 * i + 2] = (this.pixels[t * n + i] - low) * gain;  // clamped by the array
      out[4 * i + 3] = 255;
    }
    const palette = this.model.get("palette"), shown = this.model.get("shown");
    const codes = Object.fromEntries(Object.entries(palette).map(([code, hex]) => [code, colour(hex)]));
    let filled = true;
    for (const layer of this.layers) {
      if (!shown.includes(layer.observer)) continue;
      if (layer.labels) {
        paintLabels(out, layer.labels.subarray(t * n, (t + 1) * n), rows, columns, codes, this.model.get("opacity"), filled);
        filled = false;
      }
    }
    context.putImageData(picture, 0, 0);
    const target = this.canvas.getContext("2d");
    target.imageSmoothingEnabled = true;
    target.drawImage(this.image, ...this.part, 0, 0, this.canvas.width, this.canvas.height);
    this.points(target, t, shown);
    const said = [name, times_ms.length ? `${times_ms[t]} ms` : "", `frame ${t} of ${frames}`];
    said.push(this.about.slices > 1 ? `slice ${this.slices.value}` : "", ...Object.keys(marks).filter((mark) => marks[mark] === t));
    this.title.textContent = said.filter(Boolean).join(" · ");
  }

  points(target, t, shown) {
    const [left, top, wide, high] = this.part, sx = this.canvas.width / wide, sy = this.canvas.height / high;
    let order = 0;
    for (const layer of this.layers) {
      if (!layer.points || !shown.includes(layer.observer)) continue;
      target.strokeStyle = target.fillStyle = ["#F0E442", "#56B4E9", "#ffffff"][order++ % 3];
      target.globalAlpha = Math.max(0.3, this.model.get("opacity"));
      target.beginPath();
      for (const [c, r] of layer.points[t]) {
        if (c === null) continue;
        const x = (c - left + 0.5) * sx, y = (r - top + 0.5) * sy;
        target.moveTo(x + 4, y);
        target.arc(x, y, 4, 0, 2 * Math.PI);
      }
      target.lineWidth = 2;
      target.stroke();
      target.globalAlpha = 1;
    }
  }
}

// Curves over the cycle with a cursor that moves along; a click goes there.
class Curves {
  constructor(model) {
    this.model = model;
    this.canvas = element("canvas", { className: "cmr-curves", width: 420, height: 200 });
    this.canvas.addEventListener("click", (event) => {
      const x = (event.offsetX * this.canvas.width / this.canvas.clientWidth - 44) / (this.canvas.width - 54);
      model.set("phase", Math.min(0.999, Math.max(0, x)));
      model.save_changes();
    });
  }

  draw(phase) {
    const curves = this.model.get("curves"), { width, height } = this.canvas, context = this.canvas.getContext("2d");
    this.canvas.style.display = curves.length ? "" : "none";
    context.clearRect(0, 0, width, height);
    if (!curves.length) return;
    const all = curves.flatMap((curve) => curve.y).filter((y) => y !== null);
    const low = Math.min(0, ...all), high = Math.max(...all) || 1;
    const x = (p) => 44 + p * (width - 54), y = (v) => height - 26 - (v - low) / (high - low) * (height - 44);
    const ink = getComputedStyle(this.canvas).color;
    context.font = "11px sans-serif";
    context.fillStyle = context.strokeStyle = ink;
    context.fillText(curves[0].unit, 4, 12);
    [low, high].forEach((v) => context.fillText(v.toFixed(0), 12, y(v) + 4));
    const cycle = this.model.get("cycle_ms"), timed = this.model.get("timed");
    context.fillText(timed ? "time (ms)" : "share of the cardiac cycle", width / 2 - 50, height - 3);
    for (let share = 0; share < 0.9; share += 0.25) {
      context.fillText(timed ? (share * cycle).toFixed(0) : share, x(share) - 6, height - 15);
    }
    context.strokeRect(44, 18, width - 54, height - 44);
    const [first] = this.model.get("views");
    for (const [mark, t] of Object.entries(first.marks)) {
      context.setLineDash([2, 3]);
      context.beginPath();
      context.moveTo(x(first.phases[t]), 18);
      context.lineTo(x(first.phases[t]), height - 26);
      context.stroke();
      context.fillText(mark, x(first.phases[t]) - 7, 14);
    }
    curves.forEach((curve, n) => {
      context.strokeStyle = curve.colour;
      context.setLineDash(curve.dashed ? [5, 4] : []);
      context.lineWidth = 2;
      context.beginPath();
      curve.x.forEach((p, i) => curve.y[i] !== null && context[i ? "lineTo" : "moveTo"](x(p), y(curve.y[i])));
      context.stroke();
      context.fillStyle = curve.colour;
      context.fillText(curve.name, 52 + (n % 2) * 170, height - 34 - 13 * Math.floor(n / 2));
    });
    context.setLineDash([]);
    context.lineWidth = 1;
    context.strokeStyle = ink;
    context.beginPath();
    context.moveTo(x(phase), 18);
    context.lineTo(x(phase), height - 26);
    context.stroke();
  }
}

function render({ model, el }) {
  const panels = element("div", { className: "cmr-panels" }), curves = new Curves(model);
  const heading = element("div", { className: "cmr-heading" });
  let views = [], phase = model.get("phase"), last = 0, drawn = 0, since = 0, request = 0;

  const button = (text, title, click) => {
    const made = element("button", { textContent: text, title });
    made.addEventListener("click", click);
    return made;
  };
  const slider = (title, trait, min, max, step) => {
    const made = element("input", { type: "range", min, max, step, title, value: model.get(trait) });
    made.addEventListener("input", () => { model.set(trait, Number(made.value)); model.save_changes(); });
    model.on(`change:${trait}`, () => { made.value = model.get(trait); draw(); });
    return element("label", {}, [title, made]);
  };
  const steps = () => Math.max(...model.get("views").map((view) => view.frames), 1);
  const step = (by) => {
    model.set("playing", false);
    model.set("phase", (phase + by / steps() + 1) % 1);
    model.save_changes();
  };
  const play = button("▶", "play or pause (space)", () => { model.set("playing", !model.get("playing")); model.save_changes(); });
  const speed = element("select", { title: "speed" }, [0.25, 0.5, 1, 2].map((v) => element("option", { value: v, textContent: `${v}×`, selected: v === 1 })));
  const observers = element("span", { className: "cmr-observers" });
  const zoom = element("input", { type: "checkbox", checked: model.get("zoom") });
  zoom.addEventListener("change", () => { model.set("zoom", zoom.checked); model.save_changes(); });
  const rate = element("span", { className: "cmr-rate" });
  const controls = element("div", { className: "cmr-controls" }, [
    button("◀", "one frame back", () => step(-1)), play, button("▶▏", "one frame on", () => step(1)), speed,
    slider("overlay", "opacity", 0, 1, 0.05), slider("window", "window", 8, 510, 1), slider("level", "level", 0, 255, 1),
    element("label", {}, [zoom, "zoom"]), observers, rate]);

  function draw() {
    views.forEach((panel) => panel.draw(phase));
    curves.draw(phase);
    drawn++;
  }
  function load() {
    const wanted = model.get("views");
    heading.textContent = model.get("title");
    if (views.length !== wanted.length) {
      views = wanted.map((_, index) => new Panel(model, index));
      panels.replaceChildren(...views.map((panel) => panel.node));
    }
    views.forEach((panel) => panel.load());
    observers.replaceChildren(...model.get("observers").map((name) => {
      const box = element("input", { type: "checkbox", checked: model.get("shown").includes(name) });
      box.addEventListener("change", () => {
        model.set("shown", model.get("observers").filter((one) => one === name ? box.checked : model.get("shown").includes(one)));
        model.save_changes();
      });
      return element("label", {}, [box, name]);
    }));
    draw();
  }
  function tick(now) {
    if (!model.get("playing")) return;
    if (last) phase = (phase + (now - last) / model.get("cycle_ms") * Number(speed.value)) % 1;
    last = now;
    draw();
    if (now - since > 1000) {
      rate.textContent = `${Math.round(drawn * 1000 / (now - since))} pictures/s`;
      since = now;
      drawn = 0;
    }
    request = requestAnimationFrame(tick);
  }
  function playing() {
    play.textContent = model.get("playing") ? "❚❚" : "▶";
    cancelAnimationFrame(request);
    last = 0;
    if (model.get("playing")) request = requestAnimationFrame(tick);
    else { model.set("phase", phase); model.save_changes(); rate.textContent = ""; }
  }

  el.classList.add("cmr-viewer");
  el.tabIndex = 0;
  el.addEventListener("keydown", (event) => {
    const does = { " ": () => play.click(), ArrowLeft: () => step(-1), ArrowRight: () => step(1) }[event.key];
    if (does) { event.preventDefault(); event.stopPropagation(); does(); }
  });
  el.append(heading, controls, panels, curves.canvas);
  model.on("change:views", load);
  model.on("change:observers", load);
  model.on("change:shown", draw);
  model.on("change:curves", draw);
  model.on("change:zoom", () => { views.forEach((panel) => panel.fit()); draw(); });
  model.on("change:playing", playing);
  model.on("change:phase", () => { phase = model.get("phase"); draw(); });
  load();
  if (model.get("playing")) playing();
  return () => cancelAnimationFrame(request);
}

export default { render };
