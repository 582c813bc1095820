// A trained fusion head, computed in the page: the gated unit of thesislib.models.fusion.
// Its weights, the cues and the noise come from explorers.json (thesislib.teaching.explorers).
"use strict";

(() => {
  const matrixVector = (rows, x) =>
    rows.map((row) => row.reduce((sum, weight, i) => sum + weight * x[i], 0));
  const layer = (weights, name, x) =>
    matrixVector(weights[`${name}.weight`], x).map((value, i) => value + weights[`${name}.bias`][i]);

  function softmax(logits) {
    const highest = Math.max(...logits);
    const powers = logits.map((value) => Math.exp(value - highest));
    const sum = powers.reduce((a, b) => a + b, 0);
    return powers.map((value) => value / sum);
  }

  // What one modality gives the head: mean and standard deviation over the steps.
  function features(data, modality, warmth, noise, draw) {
    const { warm, cold } = data[modality];
    const { own, further } = data.draws[draw][modality];
    const steps = own.map((row, t) =>
      row.map(
        (value, d) =>
          0.5 * (1 + warmth) * warm[d] + 0.5 * (1 - warmth) * cold[d] + value + noise * further[t][d],
      ),
    );
    const mean = warm.map((_, d) => steps.reduce((sum, row) => sum + row[d], 0) / steps.length);
    const spread = mean.map((centre, d) =>
      Math.sqrt(steps.reduce((sum, row) => sum + (row[d] - centre) ** 2, 0) / steps.length),
    );
    return [...mean, ...spread];
  }

  // A modality left out is null. Returns probabilities, and how far the gate is open for the voice.
  function fuse(weights, voice, face) {
    if (!voice && !face) return { probabilities: null, gate: null };
    let hidden;
    let gate = null;
    if (voice && face) {
      const heard = layer(weights, "audio", voice).map(Math.tanh);
      const seen = layer(weights, "video", face).map(Math.tanh);
      gate = layer(weights, "gate", [...voice, ...face]).map((value) => 1 / (1 + Math.exp(-value)));
      hidden = gate.map((open, i) => open * heard[i] + (1 - open) * seen[i]);
    } else {
      hidden = layer(weights, voice ? "audio" : "video", voice || face).map(Math.tanh);
    }
    const mean = gate && gate.reduce((a, b) => a + b, 0) / gate.length;
    return { probabilities: softmax(layer(weights, "head", hidden)), gate: mean };
  }

  // state: {warmth: [voice, face], noise: [voice, face], given: [voice, face], draw}
  function run(data, state) {
    const [voice, face] = ["sound", "look"].map((modality, i) =>
      state.given[i]
        ? features(data, modality, state.warmth[i], state.noise[i], state.draw)
        : null,
    );
    return fuse(data.weights, voice, face);
  }

  const percent = (share) => `${Math.round(100 * share)} %`;
  const mood = (warmth) =>
    warmth === 0 ? "neither" : `${Math.abs(warmth) < 0.5 ? "a little " : ""}${warmth > 0 ? "warm" : "cold"}`;

  function verdict(data, state, { probabilities, gate }) {
    if (!probabilities) return "Nothing is left to decide by: give the head at least one modality.";
    const best = probabilities.indexOf(Math.max(...probabilities));
    const listened =
      gate === null
        ? `It has only the ${state.given[0] ? "voice" : "face"}, so there is nothing to weigh.`
        : `Its gate is ${percent(gate)} open for the voice, the rest is for the face.`;
    return `The head says “${data.classes[best]}”, ${percent(probabilities[best])}. ${listened}`;
  }

  function start(root) {
    const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
    const form = root.querySelector("form");
    const field = (name) => form.elements.namedItem(name);
    let draw = 0;

    function update() {
      const state = {
        warmth: ["voice", "face"].map((name) => Number(field(`${name}-warmth`).value)),
        noise: ["voice", "face"].map((name) => Number(field(`${name}-noise`).value)),
        given: ["voice", "face"].map((name) => field(`${name}-given`).checked),
        draw,
      };
      for (const [i, name] of ["voice", "face"].entries()) {
        field(`${name}-warmth`).setAttribute("aria-valuetext", mood(state.warmth[i]));
        root.querySelector(`[data-shows="${name}-warmth"]`).textContent = mood(state.warmth[i]);
        root.querySelector(`[data-shows="${name}-noise"]`).textContent = state.noise[i].toFixed(1);
        for (const part of ["warmth", "noise"]) field(`${name}-${part}`).disabled = !state.given[i];
      }
      const result = run(data, state);
      root.querySelectorAll("[data-class]").forEach((row, i) => {
        const share = result.probabilities ? result.probabilities[i] : 0;
        row.querySelector(".bar").style.width = `${100 * share}%`;
        row.querySelector(".share").textContent = result.probabilities ? percent(share) : "–";
      });
      root.querySelector("[role='status']").textContent = verdict(data, state, result);
    }

    form.addEventListener("input", update);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => {
      draw = 0;
      setTimeout(update);
    });
    field("draw").addEventListener("click", () => {
      draw = (draw + 1) % data.draws.length;
      update();
    });
    form.hidden = false;
    update();
  }

  window.fusionExplorer = { run, start };
  document.addEventListener("DOMContentLoaded", () =>
    document.querySelectorAll("[data-explorer='fusion']").forEach(start),
  );
})();
