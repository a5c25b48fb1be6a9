/* The page of the calculator (see _ext/calculator.py): its fields, and the address that keeps a plan so that it can be
   shared. Nothing is sent or stored. */
"use strict";

(() => {
  const root = document.querySelector(".calculator");
  if (!root) return;
  const { alone, besidePaper, button, count, facts, h, notes, sentence, share, sheet, tiles, ...model } = globalThis.calculator;
  const part = (name) => root.querySelector(`.${name}`);
  const networks = JSON.parse(document.getElementById("calculator-data").textContent);
  const asked = model.decode(networks, location.search);
  let { network, percents } = asked;
  let shown = []; // functions that show a rate where it is moved
  let resting = 0;

  // Layers

  /* A slider and a number field for one rate. `show` sets both: to null where layers differ, then the slider stands at
     their average. */
  function fields(label, highest, change) {
    const set = (event) => {
      const typed = Math.round(Number(event.target.value));
      if (event.target.value !== "" && Number.isFinite(typed)) change(Math.min(highest, Math.max(0, typed)));
    };
    const common = { min: 0, max: highest, step: 1, autocomplete: "off", input: set };
    const range = h("input", { type: "range", ...common, "aria-label": `${label}, rate in percent` });
    const number = h("input", {
      type: "number", ...common, inputmode: "numeric", placeholder: "–", "aria-label": `${label}, percent to remove`,
      blur: update, // what could not be read gives way to the rate
    });
    const show = (percent, average, says) => {
      range.value = percent ?? average;
      range.style.setProperty("--cut", `${(100 * range.value) / highest}%`);
      range.setAttribute("aria-valuetext", says);
      if (document.activeElement !== number || Number(number.value) !== percent) number.value = percent ?? "";
    };
    return { range, number: h("span", { class: "percent" }, number, "%"), show };
  }

  function layerRow(unit, i, widest) {
    const { range, number, show } = fields(`stage ${unit.stage}, ${unit.label}`, model.highest(unit.filters), (percent) => {
      percents[i] = percent;
      update();
    });
    const [stays, left, saves, loses] = [h("i"), ...["left", "saves", "loses"].map((name) => h("span", { class: name }))];
    const bar = h("span", { class: "bar", style: `width: ${(100 * unit.filters) / widest}%`, "aria-hidden": "true" }, stays);
    const all = model.cost(network, model.whole(network)).macs;
    shown.push(() => {
      const percent = percents[i];
      const k = model.kept(unit.filters, percent);
      show(percent, percent, `${percent} percent, ${k} of ${unit.filters} filters stay`);
      stays.style.width = `${(100 * k) / unit.filters}%`;
      left.textContent = `${k} of ${unit.filters}`;
      const only = model.cost(network, model.whole(network).fill(percent, i, i + 1));
      saves.textContent = percent ? `saves ${share(1 - only.macs / all)}` : "";
      loses.textContent = alone(network, i, percent);
    });
    const name = h("span", { class: "name" }, unit.label, unit.tied > 1 ? h("small", {}, ` ${unit.tied} layers`) : null);
    const shape = h("span", { class: "shape" }, bar);
    return h("div", { class: "layer" }, name, range, number, shape, left, h("span", { class: "alone" }, saves, " ", loses));
  }

  /* All first convs of a stage, or all convs of VGG-16's; a shortcut goes by itself. */
  function stageRow(stage, convs) {
    const { filters } = convs[0].unit;
    const { range, number, show } = fields(`all of stage ${stage}`, model.highest(filters), (percent) => {
      for (const { i } of convs) percents[i] = percent;
      update();
    });
    const left = h("span", { class: "left" });
    shown.push(() => {
      const rates = convs.map(({ i }) => percents[i]);
      const average = Math.round(rates.reduce((sum, rate) => sum + rate, 0) / rates.length);
      const same = rates.every((rate) => rate === rates[0]);
      show(same ? rates[0] : null, average, same ? `${rates[0]} percent` : `mixed, ${average} percent on average`);
      const kept = convs.reduce((sum, { unit, i }) => sum + model.kept(unit.filters, percents[i]), 0);
      left.textContent = `${count(kept)} of ${count(filters * convs.length)}`;
    });
    return h("div", { class: "layer all" }, h("span", { class: "name" }, "all"), range, number, h("span"), left);
  }

  function stageBox(stage, widest) {
    const units = network.units.map((unit, i) => ({ unit, i })).filter(({ unit }) => unit.stage === stage);
    const convs = units.filter(({ unit }) => unit.number);
    const { filters, size } = convs[0].unit;
    const about = `${convs.length} ${network.name === "vgg16" ? "" : "first "}convs of ${filters} filters, maps of ${size}×${size}`;
    const all = stageRow(stage, convs);
    const each = units.map(({ unit, i }) => layerRow(unit, i, widest));
    const few = convs.length < 8;
    const folded = few ? h("div", {}, ...each) : h("details", {}, h("summary", {}, "layer by layer"), ...each);
    return h("fieldset", { class: "stage" }, h("legend", {}, `Stage ${stage} `, h("small", {}, about)), all, folded);
  }

  // The page

  /* What changes with the network only. */
  function build() {
    shown = [];
    const widest = Math.max(...network.units.map((unit) => unit.filters));
    const stages = [...new Set(network.units.map((unit) => unit.stage))];
    part("stages").replaceChildren(...stages.map((stage) => stageBox(stage, widest)));
    for (const radio of root.querySelectorAll("[name=network]")) radio.checked = radio.value === network.name;
    const presets = network.presets.slice(1).map(({ title, percents }) => button(title, () => take(percents), { class: "preset" }));
    part("presets").replaceChildren(...presets, button("Reset", () => take(model.whole(network)), { class: "reset" }));
    part("budget").hidden = !network.sweep;
    part("found").textContent = "";
  }

  /* What changes with the plan. What takes long, or is read aloud, waits until a slider rests. */
  function update() {
    const plan = facts(network, percents);
    for (const show of shown) show();
    for (const preset of root.querySelectorAll(".preset")) {
      preset.setAttribute("aria-pressed", preset.textContent === plan.preset?.title);
    }
    part("rule").textContent = plan.preset ? `${plan.preset.title}: ${plan.preset.rule}.` : "";
    part("figures").replaceChildren(...tiles(plan));
    part("paper").replaceChildren(besidePaper(plan));
    part("code").textContent = model.python(network, percents);
    root.classList.toggle("uncut", !percents.some(Boolean));
    clearTimeout(resting);
    resting = setTimeout(() => {
      remember();
      part("status").textContent = sentence(plan);
      part("sheet").replaceChildren(...sheet(plan, location.href));
      part("notes").replaceChildren(...notes(plan, takeBest));
    }, 300);
  }

  /* The plan goes into the address, without a new entry in the history. */
  function remember() {
    const query = percents.some(Boolean) || network !== networks[0] ? `?${model.encode(network, percents)}` : "";
    if (query !== location.search) history.replaceState(null, "", `${location.pathname}${query}${location.hash}`);
  }

  function take(chosen) {
    percents = [...chosen];
    part("found").textContent = "";
    update();
  }

  /* The button that was pressed is gone with the notes: the reader goes on from there. */
  function takeBest(chosen) {
    take(chosen);
    part("notes").focus();
  }

  function findBest() {
    const quantity = part("quantity").value;
    const called = part("quantity").selectedOptions[0].textContent;
    const percent = Math.round(Number(part("allowed").value));
    const limit = model.limitOf(network, quantity, percent);
    const found = percent <= 100 ? model.best(network, quantity, limit) : null;
    const all = model.cost(network, model.whole(network))[quantity];
    const least = Math.ceil((100 * model.smallest(network, quantity)) / all);
    if (found) take(found);
    part("found").textContent = found
      ? `Of all measured rates, these lose the least with at most ${percent}% of the ${called}.`
      : `The measured rates reach down to ${least}% of the ${called}: type a number from ${least} to 100.`;
  }

  async function copy(text, from, done) {
    try {
      await navigator.clipboard.writeText(text);
      part("copied").textContent = done;
    } catch {
      if (from) getSelection().selectAllChildren(from);
      part("copied").textContent = from ? "Selected: copy it with Ctrl+C or ⌘C." : "Copy it from the browser's address bar.";
    }
  }

  root.hidden = false;
  root.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  for (const radio of root.querySelectorAll("[name=network]")) {
    radio.addEventListener("change", () => {
      network = networks.find((each) => each.name === radio.value);
      percents = model.whole(network);
      build();
      update();
    });
  }
  part("find").addEventListener("click", findBest);
  part("allowed").addEventListener("keydown", (event) => {
    if (event.key === "Enter") findBest();
  });
  part("copy-code").addEventListener("click", () => copy(part("code").textContent, part("code"), "The Python is copied."));
  part("copy-link").addEventListener("click", () => {
    remember();
    copy(location.href, null, "The address of this plan is copied.");
  });
  part("unread").hidden = !asked.unread.length;
  part("unread").textContent = `Left out of the address, since it cannot be read: ${asked.unread.join(", ")}.`;
  build();
  update();
})();
