// A face moved by action units, drawn in the page: the geometry of thesislib.corpora.twins.face.
// The person, the constants and the named settings come from explorers.json
// (thesislib.teaching.explorers). Lines that shading makes on the twins are strokes here.
"use strict";

(() => {
  const SIZE = 240; // of the picture, in pixels
  const clamp = (value, low = 0, high = 1) => Math.min(high, Math.max(low, value));
  const ridge = (distance, width) => clamp(1 - 0.25 * (distance / width) ** 2) ** 4;
  const range = (low, high, n) =>
    Array.from({ length: n }, (_, i) => low + ((high - low) * i) / (n - 1));

  // Where the parts of the face lie, in face coordinates; `units` maps numbers to strengths.
  function faceShape(identity, units) {
    const au = new Proxy(units, { get: (given, number) => given[number] ?? 0 });
    const jaw = 0.26 * au[26];
    const mouth = 0.615 + 0.02 * (identity.nose_length - 1);
    const parted = clamp(3 * au[25]);
    let upper = mouth - 0.03 * au[10] - 0.02 * au[9] - 0.015 * au[17] - 0.018 * au[25];
    upper += 0.1 * jaw * (1 - parted) - 0.012 * au[12];
    const thin =
      (1 - 0.3 * au[12]) * (1 - 0.5 * au[23]) * (1 - 0.25 * au[20]) * (1 + 0.35 * au[18]);
    const spread =
      0.34 * au[12] + 0.22 * au[20] + 0.05 * au[15] - 0.36 * au[18] - 0.08 * au[23];
    const size = identity.eye_size;
    const shut = clamp(au[43] + 0.25 * au[7] + 0.22 * au[6]);
    const lowerLid = 0.043 * size * (1 - 0.3 * au[7] - 0.5 * au[6]);
    const openLid = 0.068 * size * (1 + 0.45 * au[5] - 0.12 * au[12]);
    const brow = -identity.brow_height + 0.05 * au[4] + 0.025 * au[9] + 0.012 * au[6];
    const inner = brow + 0.02 * au[4] - 0.085 * au[1] - 0.02 * au[2];
    const outer = brow + 0.02 - 0.085 * au[2] - 0.01 * au[4];
    return {
      au,
      jaw,
      mouthHalf: 0.225 * identity.mouth_width * (1 + spread - 0.2 * jaw),
      corner: mouth - 0.008 - 0.115 * au[12] + 0.075 * au[15] + 0.02 * au[20] + 0.35 * jaw,
      upper,
      lower: upper + au[25] * (0.055 + 0.025 * au[12]) + 0.85 * jaw * parted,
      upperLip: 0.052 * identity.lip_fullness * thin * (1 - 0.2 * au[10]),
      lowerLip: 0.075 * identity.lip_fullness * thin * (1 + 0.2 * au[17]),
      eye: 0.285 * identity.eye_spacing,
      eyeHalf: 0.138 * size,
      upperLid: openLid * (1 - shut) - (lowerLid - 0.004) * shut,
      lowerLid,
      browInner: [0.105 - 0.03 * au[4], inner],
      browMiddle: 0.5 * (inner + outer) - 0.05 - 0.02 * au[2],
      browOuter: [0.455, outer],
      nose: 0.4 * identity.nose_length - 0.025 * au[9] - 0.012 * au[10] - 0.006 * au[12],
      noseHalf: 0.145 * identity.nose_width * (1 + 0.1 * au[12] + 0.1 * au[9]),
    };
  }

  // Rotation of the head: yaw, then pitch, then roll.
  function rotation([yaw, pitch, roll]) {
    const times = (a, b) => a.map((row) => b[0].map((_, j) => row.reduce((s, x, k) => s + x * b[k][j], 0)));
    const [sy, sp, sr] = [yaw, pitch, roll].map(Math.sin);
    const [cy, cp, cr] = [yaw, pitch, roll].map(Math.cos);
    const about = [[[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]], [[1, 0, 0], [0, cp, -sp], [0, sp, cp]]];
    return times(times(about[0], about[1]), [[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]);
  }

  const scaleOf = (data, pose, size) => data.unit_share * size * clamp(1 + pose[5] / 6, 0.3, 3);

  function toPixels(data, pose, size, [x, y]) {
    const scale = scaleOf(data, pose, size);
    return [
      (x + pose[3]) * scale + size / 2 - 0.5,
      (y + pose[4]) * scale + data.centre_share * size - 0.5,
    ];
  }

  // Points [u, v, lift] on the ellipsoid that carries the features, in pixels.
  function toScreen(data, pose, size, points) {
    const turn = rotation(pose);
    const { axes, pivot, identity } = data;
    return points.map(([u, v, lift = 0]) => {
      const within = Math.max(0, 1 - (u / axes[0]) ** 2 - (v / axes[1]) ** 2);
      const depth = axes[2] * Math.sqrt(within) + lift;
      const head = [u * identity.head_width, v * identity.head_height, depth];
      const from = head.map((value, i) => value - pivot[i]);
      const plane = [0, 1].map((i) => turn[i].reduce((s, x, k) => s + x * from[k], 0) + pivot[i]);
      return toPixels(data, pose, size, plane);
    });
  }

  // Points [u, v] of the contour, which shifts and rolls but does not foreshorten.
  function outlineToScreen(data, pose, size, points) {
    const { outline_depth: near, pivot, identity } = data;
    const [yaw, pitch, roll] = pose;
    return points.map(([u, v]) => {
      const depth = near[0] + near[1] * v - pivot[2];
      const x = u * identity.head_width + Math.sin(yaw) * depth - pivot[0];
      const y = v * identity.head_height - Math.sin(pitch) * depth - pivot[1];
      return toPixels(data, pose, size, [
        x * Math.cos(roll) - y * Math.sin(roll) + pivot[0],
        x * Math.sin(roll) + y * Math.cos(roll) + pivot[1],
      ]);
    });
  }

  // The points that `data.landmarks` names: column and row in pixels.
  function landmarks(data, units, pose, gaze = [0, 0], size = SIZE) {
    const s = faceShape(data.identity, units);
    const { eye: e, eyeHalf: h } = s;
    const tilt = data.identity.eye_tilt;
    const look = gaze.map((value, i) => value * data.gaze_reach[i]);
    const surface = [
      [-s.mouthHalf, s.corner], [s.mouthHalf, s.corner],
      [0, s.upper - s.upperLip], [0, s.upper], [0, s.lower], [0, s.lower + s.lowerLip],
      [-e - h, -tilt], [-e + h, tilt], [e - h, tilt], [e + h, -tilt],
      [-e, -s.upperLid], [e, -s.upperLid], [-e, s.lowerLid], [e, s.lowerLid],
      [-e + look[0], look[1]], [e + look[0], look[1]],
      [-s.browInner[0], s.browInner[1]], [s.browInner[0], s.browInner[1]],
      [-s.browOuter[0], s.browOuter[1]], [s.browOuter[0], s.browOuter[1]],
      [0, s.nose - 0.05, data.nose_height],
      [-s.noseHalf, s.nose - 0.01], [s.noseHalf, s.nose - 0.01],
    ];
    const chin = outlineToScreen(data, pose, size, [[0, 1 + s.jaw]]);
    return [...toScreen(data, pose, size, surface), ...chin];
  }

  // The parts of the drawing, in order: [name, points in pixels or a circle, style].
  function parts(data, units, pose) {
    const s = faceShape(data.identity, units);
    const { identity, colours } = data;
    const { au } = s;
    const screen = (points) => toScreen(data, pose, SIZE, points);
    const outline = (points) => outlineToScreen(data, pose, SIZE, points);
    const both = (half) => [...half, ...half.toReversed().map(([u, v]) => [-u, v])];
    const scale = scaleOf(data, pose, SIZE);
    const yaw = Math.sin(pose[0]);
    const made = [];
    const area = (points, fill, more = {}) => made.push({ points, closed: true, fill, ...more });
    const line = (points, stroke, width, opacity = 1) =>
      made.push({ points, stroke, width: width * scale, opacity: clamp(opacity) });
    const shadow = "#5b3524";

    // Hair behind, neck, clothes, ears.
    area(outline(both(range(-1.06, 0.66, 24).map((v) => {
      const upper = (Math.min(v + 0.05, 0) / (0.96 + identity.hair_volume)) ** 2;
      const lower = Math.max((v - 0.21) / 0.45, 0) ** 2;
      return [0.7 * (1 - 0.32 * Math.max(v, 0)) * Math.sqrt(clamp(1 - upper - lower)), v];
    })).map(([u, v]) => [u - 0.4 * yaw, v])), colours.hair);
    const body = (points) => points.map(([x, y]) => toPixels(data, [0, 0, 0, 0, 0, 0], SIZE, [x, y]));
    const lean = 0.22 * yaw - 0.12 * Math.sin(pose[2]);
    area(body([[-0.42 + lean, 0.6], [0.42 + lean, 0.6], [0.45, 1.6], [-0.45, 1.6]]), "#c4967a");
    area(body([[-1.7, 1.62], [-0.42, 1.32], [0, 1.56], [0.42, 1.32], [1.7, 1.62], [1.7, 2], [-1.7, 2]]), "#45586e");
    for (const side of [-1, 1])
      area(outline(range(0, 2 * Math.PI, 25).map((t) =>
        [side * 0.735 - 0.14 * yaw + 0.085 * Math.cos(t), 0.08 + 0.175 * Math.sin(t)])), "#cf9f85");

    // The face: an ellipse above, below a bow that tapers to the chin.
    const square = 0.22 + 0.34 * identity.jaw;
    area(outline(both(range(-1, 1, 49).map((t) => {
      const v = t > 0 ? t * (1 + s.jaw) : t;
      const taper = 0.715 * (1 - (0.23 - 0.12 * identity.jaw) * Math.max(v, 0));
      const flank = t > 0 ? 1 - t * t * (1 - square) - square * t ** 4 : 1 - t * t;
      return [taper * Math.sqrt(clamp(flank)), v];
    }))), colours.skin);

    // Folds and lines, as strong as the units make them.
    const { age } = identity;
    for (const side of [-1, 1]) {
      const top = s.nose - 0.03;
      line(screen(range(0.1, 1, 12).map((t) => [
        side * (s.noseHalf + 0.015 + (s.mouthHalf + 0.075 - s.noseHalf) * t + 0.1 * au[12] * t * (1 - t)),
        top + (s.corner + 0.05 - top) * t])), shadow, 0.03, 0.03 + 0.13 * age + 0.36 * au[12]);
      for (const slope of [-0.55, 0.05, 0.65])
        line(screen([[0.06, 0], [0.15, 0]].map(([d]) =>
          [side * (s.eye + s.eyeHalf + d), -identity.eye_tilt + 0.005 + slope * d])), shadow, 0.016,
        0.05 * age + 0.45 * au[6]);
      line(screen(range(-0.9, 0.9, 9).map((a) => [side * (s.eye + s.eyeHalf * a),
        s.lowerLid * (1 - a * a) + 0.03 - 0.02 * au[6]])), shadow, 0.018, 0.15 + 0.35 * au[6]);
      line(screen([[side * 0.045, -0.26], [side * (0.055 - 0.02 * au[4]), -0.14]]), shadow, 0.022, 0.45 * au[4]);
    }
    const raised = 0.05 * age + 0.6 * Math.min(au[2], au[1] + 0.3);
    for (const v of [-0.33, -0.41, -0.49])
      line(screen(range(-0.28, 0.28, 9).map((u) => [u, v + 0.1 * u * u])), shadow, 0.016, raised);

    // Nose.
    line(screen(both(range(0, 1, 6).map((t) =>
      [s.noseHalf * Math.cos(1.57 * (1 - t)), s.nose + 0.055 - 0.085 * t * t, 0.1 * (1 - t)])).toSorted(
      (a, b) => a[0] - b[0])), shadow, 0.018, 0.4);
    for (const side of [-1, 1])
      area(screen(range(0, 2 * Math.PI, 13).map((t) => [
        side * 0.45 * s.noseHalf + 0.3 * s.noseHalf * Math.cos(t), s.nose + 0.022 + 0.017 * Math.sin(t),
        0.75 * data.nose_height])), "#6b4030", { opacity: 0.75 });

    // Mouth: cavity, tongue, teeth, lips, and the line where they touch.
    const rows = range(-1, 1, 41).map((a) => {
      const bow = 1 - a * a;
      const upper = s.corner + (s.upper - s.corner) * bow * (1 + 0.25 * a * a);
      const lower = Math.max(upper, s.corner + (s.lower - s.corner) * bow * (1 + 0.35 * a * a));
      const cupid = 1 - 0.2 * ridge(a, 0.13) + 0.06 * a * a;
      const bared = Math.max(au[12], au[10], au[20]) * (1 - 0.8 * au[18]);
      const tooth = (0.03 + 0.052 * Math.sqrt(bared) - 0.015 * au[18]) * (1 - 0.45 * a * a);
      const tongue = s.lower + 0.01 - 0.35 * s.jaw * bow + 0.06 * a * a;
      return {
        u: a * s.mouthHalf, upper, lower,
        top: upper - s.upperLip * Math.sqrt(bow) * (0.55 + 0.45 * bow) * cupid,
        bottom: lower + s.lowerLip * Math.sqrt(bow) * (0.45 + 0.55 * bow),
        teeth: Math.min(lower, upper + tooth), tongue: clamp(tongue, upper, lower),
        middle: 0.5 * (upper + lower),
      };
    });
    const edge = (name) => rows.map((row) => [row.u, row[name]]);
    const strip = (first, second) => screen([...edge(first), ...edge(second).toReversed()]);
    area(strip("upper", "lower"), "#3b1414");
    area(strip("tongue", "lower"), "#a85050", { opacity: clamp(6 * s.jaw) * 0.85 });
    area(strip("upper", "teeth"), "#f1eadc");
    area(strip("top", "upper"), "#b5655c");
    area(strip("lower", "bottom"), "#c0746a");
    line(screen(edge("middle")), "#5a2a2a", 0.018, 1 - (s.lower - s.upper) / 0.03);

    // Eyes and brows.
    for (const side of [-1, 1]) {
      const bend = range(-1, 1, 25).map((a) => [a, 1 - a * a]);
      const at = (a, level) => [side * (s.eye + s.eyeHalf * a), level - identity.eye_tilt * a];
      const lid = bend.map(([a, bow]) => at(a, -s.upperLid * bow * (1.08 - 0.08 * bow)));
      const low = bend.map(([a, bow]) => at(a, s.lowerLid * bow));
      const crease = bend.map(([a, bow]) =>
        at(a, Math.min(-0.096 * identity.eye_size * bow, -s.upperLid * bow - 0.028)));
      line(screen(crease), shadow, 0.012, 0.5);
      const opening = screen([...lid, ...low.toReversed()]);
      const centre = screen([[side * s.eye, -0.008]])[0];
      if (s.upperLid + s.lowerLid > 0.006) {
        const radius = 0.063 * identity.eye_size * scale;
        area(opening, "#f4f1ee", { clip: side });
        made.push({ circle: centre, radius, fill: colours.iris, within: side });
        made.push({ circle: centre, radius: 0.42 * radius, fill: "#141010", within: side });
      }
      line(screen(lid), "#1d1311", 0.022);
      line(screen(low), shadow, 0.01, 0.4);
      const [[u0, v0], [u1, v1]] = [s.browInner, s.browOuter];
      const brow = range(0, 1, 21).map((t) => {
        const v = v0 * (1 - t) ** 2 + 2 * t * (1 - t) * s.browMiddle + v1 * t * t;
        const thick = 0.03 * identity.brow_thickness * (1 - 0.65 * t) * clamp(8 * (t + 0.04)) * clamp(12 * (1.03 - t));
        return [side * (u0 + (u1 - u0) * t), v, thick];
      });
      area(screen([...brow.map(([u, v, t]) => [u, v - t]), ...brow.toReversed().map(([u, v, t]) => [u, v + t])]), "#3d271b");
    }

    // Hair in front: the skull, made thicker, down to the hairline.
    const skull = range(-1, 1, 33).map((t) => [
      (0.725 + 0.45 * identity.hair_volume) * Math.sin(1.62 * t),
      0.02 - (0.99 + identity.hair_volume) * Math.cos(1.62 * t)]);
    const hairline = range(0.68, -0.68, 33).map((u) => {
      const across = 1 - (u / 0.69) ** 2 * (0.1 + 0.9 * (u / 0.69) ** 2);
      const above = (Math.sqrt(0.36 + 1.6 * Math.max(0, across)) - 0.6) / 0.8;
      const tall = identity.hairline + 0.22 - 0.26 * identity.hair_sweep * u -
        0.1 * Math.abs(u - 0.35 * identity.hair_sweep);
      return [u, 0.22 - tall * Math.sqrt(above)];
    });
    area(outline([...skull, ...hairline]), colours.hair);
    return made;
  }

  const SVG = "http://www.w3.org/2000/svg";
  function node(name, attributes) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  function draw(svg, data, units, pose, name) {
    const path = (points, closed) =>
      `M${points.map(([x, y]) => `${(x + 0.5).toFixed(2)} ${(y + 0.5).toFixed(2)}`).join("L")}${closed ? "Z" : ""}`;
    const drawn = [node("rect", { width: SIZE, height: SIZE, fill: "#aebcc6" })];
    for (const part of parts(data, units, pose)) {
      const opacity = part.opacity ?? 1;
      if (part.circle) {
        const [cx, cy] = part.circle.map((value) => value + 0.5);
        drawn.push(node("circle", { cx, cy, r: part.radius, fill: part.fill, "clip-path": `url(#${name}-eye${part.within})` }));
      } else if (part.closed) {
        const d = path(part.points, true);
        drawn.push(node("path", { d, fill: part.fill, opacity }));
        if (part.clip) {
          const clip = node("clipPath", { id: `${name}-eye${part.clip}` });
          clip.append(node("path", { d }));
          drawn.push(clip);
        }
      } else if (opacity > 0.01)
        drawn.push(node("path", {
          d: path(part.points), fill: "none", stroke: part.stroke, opacity,
          "stroke-width": part.width, "stroke-linecap": "round", "stroke-linejoin": "round",
        }));
    }
    svg.replaceChildren(...drawn);
  }

  function reading(units) {
    const strong = (...numbers) => numbers.every((number) => (units[number] ?? 0) >= 0.3);
    if (strong(12, 25, 26)) return strong(6) ? "as in a laugh" : "a laughing mouth, and eyes that do not laugh";
    if (strong(6, 12)) return "a smile that reaches the eyes";
    if (strong(12)) return "a smile of the lips alone";
    if (strong(1, 2, 26)) return "the prototype of surprise";
    if (strong(1, 15) || strong(1, 4)) return "close to the prototype of sadness";
    return "no prototype that this page knows";
  }

  function start(root) {
    const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
    const form = root.querySelector("form");
    const svg = root.querySelector("svg");
    const sliders = [...form.querySelectorAll("input[type='range']")];
    const names = new Map(data.units.map(({ number, name }) => [number, name]));

    function update() {
      const units = {};
      const pose = [0, 0, 0, 0, 0, 0];
      for (const slider of sliders) {
        const value = Number(slider.value);
        if (slider.dataset.unit) units[slider.dataset.unit] = value / 100;
        else pose[["yaw", "pitch", "roll"].indexOf(slider.dataset.pose)] = (value * Math.PI) / 180;
        const shown = slider.dataset.unit ? `${value} %` : `${value}°`;
        slider.setAttribute("aria-valuetext", slider.dataset.unit ? `${value} per cent` : `${value} degrees`);
        slider.parentElement.querySelector(".shown").textContent = shown;
      }
      draw(svg, data, units, pose, root.id);
      const moved = Object.keys(units).filter((number) => units[number] > 0);
      const listed = moved.map((number) => `AU${number} ${names.get(Number(number))} ${Math.round(100 * units[number])} %`);
      const text = moved.length ? `${listed.join(", ")}: ${reading(units)}.` : "No action unit: the face at rest.";
      root.querySelector("[role='status']").textContent = text;
      svg.setAttribute("aria-label", `Drawn face. ${text}`);
    }

    form.addEventListener("input", update);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(update));
    form.addEventListener("click", ({ target }) => {
      if (!target.dataset.preset) return;
      const { units } = data.presets[Number(target.dataset.preset)];
      for (const slider of sliders)
        if (slider.dataset.unit) slider.value = 100 * (units[slider.dataset.unit] ?? 0);
      update();
    });
    form.hidden = false;
    update();
  }

  window.faceExplorer = { landmarks, start };
  document.addEventListener("DOMContentLoaded", () =>
    document.querySelectorAll("[data-explorer='face']").forEach(start),
  );
})();
