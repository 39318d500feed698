// Points that can be clicked: whoever listens to `selected` hears which one.

function render({ model, el }) {
  const canvas = document.createElement("canvas"), said = document.createElement("div");
  canvas.width = 460;
  canvas.height = 320;
  el.classList.add("cmr-scatter");
  el.append(canvas, said);
  let places = [];

  function draw() {
    const context = canvas.getContext("2d"), { width, height } = canvas, points = model.get("points");
    const xs = points.map((p) => p.x), ys = points.map((p) => p.y).concat(model.get("lines").map((line) => line.y));
    const span = (values) => {
      const low = Math.min(...values), high = Math.max(...values), room = (high - low) * 0.06 || 1;
      return [low - room, high + room];
    };
    const [x0, x1] = span(xs), [y0, y1] = span(ys);
    const X = (x) => 54 + (x - x0) / (x1 - x0) * (width - 66), Y = (y) => height - 40 - (y - y0) / (y1 - y0) * (height - 52);
    context.clearRect(0, 0, width, height);
    context.font = "11px sans-serif";
    const ink = context.fillStyle = context.strokeStyle = getComputedStyle(canvas).color;
    context.strokeRect(54, 12, width - 66, height - 52);
    context.fillText(model.get("x_label"), width / 2 - 40, height - 8);
    [x0, (x0 + x1) / 2, x1].forEach((v) => context.fillText(v.toPrecision(3), X(v) - 12, height - 24));
    [y0, (y0 + y1) / 2, y1].forEach((v) => context.fillText(v.toPrecision(3), 16, Y(v) + 4));
    context.save();
    context.translate(11, height / 2 + 30);
    context.rotate(-Math.PI / 2);
    context.fillText(model.get("y_label"), 0, 0);
    context.restore();
    for (const line of model.get("lines")) {
      context.setLineDash([4, 4]);
      context.beginPath();
      context.moveTo(54, Y(line.y));
      context.lineTo(width - 12, Y(line.y));
      context.stroke();
      context.fillText(line.name, width - 12 - context.measureText(line.name).width, Y(line.y) - 3);
    }
    context.setLineDash([]);
    places = points.map((p) => [X(p.x), Y(p.y)]);
    points.forEach((p, i) => {
      context.beginPath();
      context.arc(...places[i], p.name === model.get("selected") ? 7 : 4.5, 0, 2 * Math.PI);
      context.fillStyle = p.colour;
      context.fill();
      if (p.name === model.get("selected")) { context.strokeStyle = ink; context.lineWidth = 2; context.stroke(); context.lineWidth = 1; }
    });
    said.replaceChildren(...Object.entries(model.get("groups")).flatMap(([name, colour]) => {
      const chip = document.createElement("b");
      chip.textContent = "● ";
      chip.style.color = colour;
      return [chip, `${name} `];
    }), model.get("selected") ? `· chosen: ${model.get("selected")}` : "· click a point");
  }
  const nearest = (event) => {
    const scale = canvas.width / canvas.clientWidth;
    const away = places.map(([x, y]) => Math.hypot(x - event.offsetX * scale, y - event.offsetY * scale));
    const i = away.indexOf(Math.min(...away));
    return away[i] < 14 ? model.get("points")[i] : null;
  };
  canvas.addEventListener("pointermove", (event) => {
    const point = nearest(event);
    canvas.title = point ? point.name : "";
    canvas.style.cursor = point ? "pointer" : "default";
  });
  canvas.addEventListener("click", (event) => {
    const point = nearest(event);
    if (!point) return;
    model.set("selected", point.name);
    model.save_changes();
  });
  ["points", "lines", "selected"].forEach((trait) => model.on(`change:${trait}`, draw));
  draw();
}

export default { render };
