/* The page of the calculator (see _ext/calculator.py): fields in, figures out. What is computed is in
   calculator-model.js. Nothing is sent or stored; the plan is kept in the page's address, so that it can be shared. */
"use strict";

(() => {
  const root = document.querySelector(".calculator");
  if (!root) return;
  const networks = JSON.parse(document.getElementById("calculator-data").textContent);
  const model = globalThis.calculator;
  const part = (name) => root.querySelector(`.${name}`);
  let { network, percents, unread } = model.decode(networks, location.search);
  let rows = []; // of the layers shown: how each shows its rate
  let speaking = 0;

  /* An element; attributes that are functions listen to events. */
  function h(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, given] of Object.entries(attributes ?? {})) {
      if (typeof given === "function") made.addEventListener(key, given);
      else if (given !== null && given !== false) made.setAttribute(key, given === true ? "" : given);
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  }

  // Numbers as text

  const count = (n) => n.toLocaleString("en-US");
  const share = (part) => `${(100 * part).toFixed(1)}%`;
  const fewer = (now, before) => (now === before ? "all of them" : `${share(1 - now / before)} fewer`);
  const accuracy = (right) => `${((100 * right) / network.sweep.total).toFixed(2)}%`;
  const points = (lost) => `${((100 * lost) / network.sweep.total).toFixed(2)} points`;
  const size = (bytes) => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(2)} MB`);
  const named = (units) =>
    units.length > 3 ? `${units.length} layers` : units.map(({ label, stage, number }) => (number ? label : `${label} ${stage}`)).join(", ");

  // Fields

  /* A slider and a number field for one rate. Returns them with a function that shows a rate: null where layers differ. */
  function fields(label, highest, change) {
    const set = (event) => {
      const typed = Math.round(Number(event.target.value));
      if (event.target.value !== "" && Number.isFinite(typed)) change(Math.min(highest, Math.max(0, typed)));
    };
    const common = { min: 0, max: highest, step: 1, autocomplete: "off" };
    const range = h("input", { type: "range", ...common, "aria-label": `${label}, rate in percent`, input: set });
    const number = h("input", {
      type: "number", ...common, inputmode: "numeric", placeholder: "–", "aria-label": `${label}, percent to remove`,
      input: set, blur: () => update(), // what could not be read gives way to the rate
    });
    const show = (percent, average, says) => {
      range.value = percent ?? average;
      range.style.setProperty("--cut", `${(100 * range.value) / highest}%`);
      range.setAttribute("aria-valuetext", says);
      if (document.activeElement !== number || Number(number.value) !== percent) number.value = percent ?? "";
    };
    return { range, number: h("span", { class: "percent" }, number, "%"), show };
  }

  /* What a layer loses alone, in points. */
  function lossOf(i) {
    const found = model.loss(network, i, percents[i]);
    if (!found) return "not measured";
    const size = ((100 * Math.abs(found.lost)) / network.sweep.total).toFixed(2);
    return `${found.lost < 0 ? "gains" : "loses"} ${size}${found.measured ? "" : "*"}`;
  }

  function layerRow(unit, i, widest) {
    const { range, number, show } = fields(`stage ${unit.stage}, ${unit.label}`, model.highest(unit.filters), (percent) => {
      percents[i] = percent;
      update();
    });
    const stays = h("i");
    const bar = h("span", { class: "bar", style: `width: ${(100 * unit.filters) / widest}%`, "aria-hidden": "true" }, stays);
    const left = h("span", { class: "left" });
    const saves = h("span", { class: "saves" });
    const loses = h("span", { class: "loses" });
    const name = h("span", { class: "name" }, unit.label, unit.tied > 1 ? h("small", {}, ` ${unit.tied} layers`) : null);
    rows.push(() => {
      const k = model.kept(unit.filters, percents[i]);
      show(percents[i], percents[i], `${percents[i]} percent, ${k} of ${unit.filters} filters stay`);
      stays.style.width = `${(100 * k) / unit.filters}%`;
      left.textContent = `${k} of ${unit.filters}`;
      const alone = model.whole(network).fill(percents[i], i, i + 1);
      const all = model.cost(network, model.whole(network)).macs;
      saves.textContent = percents[i] ? `saves ${share(1 - model.cost(network, alone).macs / all)}` : "";
      loses.textContent = percents[i] && network.sweep ? lossOf(i) : "";
    });
    const alone = h("span", { class: "alone" }, saves, " ", loses);
    return h("div", { class: "layer" }, name, range, number, h("span", { class: "shape" }, bar), left, alone);
  }

  function stageBox(stage, widest) {
    const units = network.units.map((unit, i) => ({ unit, i })).filter(({ unit }) => unit.stage === stage);
    const convs = units.filter(({ unit }) => unit.number);
    const { filters, size } = convs[0].unit;
    const what = convs.length === 1 ? "one conv" : `${convs.length} ${network.name === "vgg16" ? "convs" : "first convs"}`;
    const legend = h("legend", {}, `Stage ${stage} `, h("small", {}, `${what} of ${filters} filters, maps of ${size}×${size}`));
    const layers = units.map(({ unit, i }) => layerRow(unit, i, widest));
    const { range, number, show } = fields(`all of stage ${stage}`, model.highest(filters), (percent) => {
      for (const { i } of convs) percents[i] = percent;
      update();
    });
    const left = h("span", { class: "left" });
    rows.push(() => {
      const rates = convs.map(({ i }) => percents[i]);
      const same = rates.every((rate) => rate === rates[0]);
      const average = Math.round(rates.reduce((sum, rate) => sum + rate, 0) / rates.length);
      show(same ? rates[0] : null, average, same ? `${rates[0]} percent` : `mixed, ${average} percent on average`);
      const kept = convs.reduce((sum, { unit, i }) => sum + model.kept(unit.filters, percents[i]), 0);
      left.textContent = `${count(kept)} of ${count(filters * convs.length)}`;
    });
    const all = h("div", { class: "layer all" }, h("span", { class: "name" }, "all"), range, number, h("span"), left);
    const many = convs.length > 7;
    const single = many ? h("details", {}, h("summary", {}, "layer by layer"), ...layers) : h("div", {}, ...layers);
    return h("fieldset", { class: "stage" }, legend, all, single);
  }

  function button(text, press, attributes) {
    return h("button", { type: "button", click: press, ...attributes }, text);
  }

  // What changes with the network only

  function build() {
    rows = [];
    const widest = Math.max(...network.units.map((unit) => unit.filters));
    const stages = [...new Set(network.units.map((unit) => unit.stage))];
    part("stages").replaceChildren(...stages.map((stage) => stageBox(stage, widest)));
    for (const radio of root.querySelectorAll("[name=network]")) radio.checked = radio.value === network.name;
    part("presets").replaceChildren(
      ...network.presets.slice(1).map((preset) =>
        button(preset.title, () => take(preset.percents), { "data-percents": preset.percents.join(" "), title: preset.rule })
      ),
      button("Reset", () => take(model.whole(network)), { class: "reset" })
    );
    part("budget").hidden = !network.sweep;
    part("found").textContent = "";
  }

  // What changes with the plan

  function tile(name, figure, ...about) {
    return h("div", { class: `tile ${name.split(/\W/)[0]}` }, h("span", { class: "title" }, name), h("strong", {}, figure), ...about.map((text) => h("span", { class: "about" }, text)));
  }

  function tiles(cost, all, sum) {
    const after = "right after the cut";
    const shown = [
      tile("multiply-adds", count(cost.macs), fewer(cost.macs, all.macs)),
      tile("weights", count(cost.weights), fewer(cost.weights, all.weights)),
      tile("bytes, float32", size(cost.float32), `float16: ${size(cost.float16)}`),
    ];
    if (sum.lost !== null) {
      const right = network.sweep.right - sum.lost;
      const before = accuracy(network.sweep.right);
      const shownRight = right > network.sweep.total / 10 ? accuracy(right) : "chance";
      shown.push(tile(after, shownRight, "if losses add up", `uncut: ${before}`));
    } else shown.push(tile(after, "unknown", network.sweep ? `not measured: ${named(sum.missing)}` : "not measured"));
    const time = network.time;
    if (time?.follows) {
      const seconds = (time.seconds * cost.macs) / all.macs;
      shown.push(tile("time", `${seconds.toFixed(3)} s`, "if in proportion", `uncut: ${time.seconds.toFixed(3)} s`));
    } else shown.push(tile("time", "unknown", time ? "not in proportion" : "not measured"));
    return shown;
  }

  function notes(cost, sum) {
    const said = [];
    if (sum.lost !== null && percents.some(Boolean)) {
      const { setting, split, total } = network.sweep;
      const between = sum.measured ? "" : " A star (*) marks a count of filters between two measured ones, read off the line between them.";
      said.push(
        `Losses: each layer cut alone, setting ${setting}, ${count(total)} ${split} images. Together they add up to ${points(sum.lost)}.${between}`
      );
      if (sum.lost < network.sweep.right) said.push(comparison(cost, sum));
    } else if (!network.sweep) {
      said.push(`Layers of ${network.title} have not been cut one by one at full size, so there are no losses to add up and no best rates.`);
    }
    if (network.time) {
      const cases = network.time.cases
        .map(({ title, macs_saved, time_saved }) => `${title} has ${share(macs_saved)} fewer multiply-adds and took ${share(Math.abs(time_saved))} ${time_saved < 0 ? "more" : "less"}`)
        .join("; ");
      said.push(`Time: ${network.title} took ${network.time.seconds.toFixed(3)} s for ${network.time.what} on ${network.time.where}. Measured beside it: ${cases}.`);
    }
    if (network.plain) {
      said.push(`Without the projection shortcuts, as Table 1 counts: ${count(cost.plainMacs)} multiply-adds and ${count(cost.plainWeights)} weights.`);
    }
    return said.map((text) => h("p", {}, ...[text].flat()));
  }

  /* What the best measured rates lose that cost no more than the plan. */
  function comparison(cost, sum) {
    const found = model.best(network, "macs", cost.macs);
    if (!found) return "No measured rates take as few multiply-adds.";
    const least = model.added(network, found).lost;
    if (least >= sum.lost) return "No measured rates take as few multiply-adds and lose less.";
    return [
      `The best measured rates that take no more multiply-adds lose ${points(least)} `,
      button("take these rates", () => take(found), { class: "take" }),
    ];
  }

  /* The paper's rows of this network as printed, below ours, and the plan last. */
  function paperTable(cost) {
    const all = model.cost(network, model.whole(network));
    const cell = (ours, printed) => h("td", {}, ours, h("small", {}, printed));
    const pair = (now, before, printed, less) => [
      cell(count(now), printed ?? ""), cell(now === before ? "" : share(1 - now / before), less ?? ""),
    ];
    const row = (title, { plainMacs, plainWeights }, printed) => [
      h("th", { scope: "row" }, title),
      ...pair(plainMacs, all.plainMacs, printed?.macs, printed?.macs_pruned),
      ...pair(plainWeights, all.plainWeights, printed?.weights, printed?.weights_pruned),
      cell("", printed ? `${printed.error}%` : ""),
    ];
    const head = ["network", "multiply-adds", "less", "weights", "less", "error"].map((text) => h("th", { scope: "col" }, text));
    const body = network.presets.map((each) => h("tr", {}, ...row(each.title, model.cost(network, each.percents), each.printed)));
    body.push(h("tr", { class: "yours" }, ...row("this plan", cost)));
    return h("table", { class: "ledger" }, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...body));
  }

  /* The plan layer by layer, for paper. */
  function printedTable(cost, sum) {
    const head = ["stage", "layer", "name in the network", "filters", "removed", "stay", ...(network.sweep ? ["alone, points"] : [])];
    const body = network.units.map((unit, i) => {
      const cells = [unit.stage, unit.label, unit.layer, unit.filters, `${percents[i]}%`, model.kept(unit.filters, percents[i])];
      if (network.sweep) cells.push(percents[i] ? lossOf(i) : "");
      return h("tr", {}, ...cells.map((cell) => h("td", {}, String(cell))));
    });
    return [
      h("table", { class: "ledger" }, h("thead", {}, h("tr", {}, ...head.map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, ...body)),
      h("p", {}, `${sentence(cost, sum)} ${location.href}`),
    ];
  }

  const presetOf = () => network.presets.find((preset) => preset.percents.join() === percents.join());

  function sentence(cost, sum) {
    const all = model.cost(network, model.whole(network));
    const right = sum.lost === null ? "" : ` ${accuracy(Math.max(0, network.sweep.right - sum.lost))} right if losses add up.`;
    return `${presetOf()?.title ?? `${network.title}, your plan`}: ${count(cost.macs)} multiply-adds, ${fewer(cost.macs, all.macs)}; ` +
      `${count(cost.weights)} weights, ${fewer(cost.weights, all.weights)}.${right}`;
  }

  function update() {
    const cost = model.cost(network, percents);
    const sum = model.added(network, percents);
    for (const show of rows) show();
    for (const each of part("presets").querySelectorAll("[data-percents]")) {
      each.setAttribute("aria-pressed", each.dataset.percents === percents.join(" "));
    }
    part("figures").replaceChildren(...tiles(cost, model.cost(network, model.whole(network)), sum));
    part("paper").replaceChildren(paperTable(cost));
    part("code").textContent = model.python(network, percents);
    remember();
    clearTimeout(speaking); // what takes long, and what is read aloud, waits until a slider rests
    speaking = setTimeout(() => {
      part("notes").replaceChildren(...notes(cost, sum));
      part("status").textContent = sentence(cost, sum);
      part("sheet").replaceChildren(...printedTable(cost, sum));
    }, 300);
  }

  /* The plan goes into the address without a new entry in the history. */
  function remember() {
    const query = percents.some(Boolean) || network !== networks[0] ? `?${model.encode(network, percents)}` : "";
    if (query !== location.search) history.replaceState(null, "", `${location.pathname}${query}${location.hash}`);
  }

  function take(chosen) {
    percents = [...chosen];
    part("found").textContent = "";
    update();
  }

  // Budgets

  function findBest() {
    const quantity = part("quantity").value;
    const text = part("quantity").selectedOptions[0].textContent;
    const percent = Math.round(Number(part("allowed").value));
    const found = percent >= 1 && percent <= 100 ? model.best(network, quantity, model.limitOf(network, quantity, percent)) : null;
    if (found) take(found);
    const all = model.cost(network, model.whole(network))[quantity];
    const least = Math.ceil((100 * model.smallest(network, quantity)) / all);
    part("found").textContent = found
      ? `The measured rates that lose least with at most ${percent}% of the ${text}.`
      : `The measured rates reach down to ${least}% of the ${text}: type a number from ${least} to 100.`;
  }

  // Copies

  async function copy(text, from, done) {
    try {
      await navigator.clipboard.writeText(text);
      part("copied").textContent = done;
    } catch {
      if (from) getSelection().selectAllChildren(from);
      part("copied").textContent = from ? "Selected: press Ctrl+C or ⌘C to copy." : `Copy it from the address bar of the browser.`;
    }
  }

  root.hidden = false;
  document.querySelector(".calculator-presets").hidden = true;
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
  part("copy-link").addEventListener("click", () => copy(location.href, null, "The address of this plan is copied."));
  part("unread").textContent = unread.length ? `Not all of the address could be read; left out: ${unread.join(", ")}.` : "";
  part("unread").hidden = !unread.length;
  root.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  build();
  update();
})();
