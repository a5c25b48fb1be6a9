/* What the calculator says about a plan (see _ext/calculator.py): elements for the page, made of a network's data and
   a percent for each of its units. What is computed is in calculator-model.js. */
"use strict";

(() => {
  const model = globalThis.calculator;

  /* An element; attributes that are functions listen to events, and those that are null or false are left out. */
  function h(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, given] of Object.entries(attributes ?? {})) {
      if (typeof given === "function") made.addEventListener(key, given);
      else if (given !== null && given !== false) made.setAttribute(key, given === true ? "" : given);
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  }

  const button = (text, press, attributes) => h("button", { type: "button", click: press, ...attributes }, text);

  const count = (n) => n.toLocaleString("en-US");
  const share = (part) => `${(100 * part).toFixed(1)}%`;
  const fewer = (now, before) => (now === before ? "all of them" : `${share(1 - now / before)} fewer`);
  const size = (bytes) => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(2)} MB`);
  const seconds = (time) => `${time.toFixed(3)} s`;
  const hundredths = (network, images) => ((100 * images) / network.sweep.total).toFixed(2);

  /* All that the functions below need to know about a plan. */
  function facts(network, percents) {
    const none = model.whole(network);
    return {
      network,
      percents,
      cost: model.cost(network, percents),
      all: model.cost(network, none),
      sum: model.added(network, percents),
      preset: network.presets.find((preset) => preset.percents.join() === percents.join()),
    };
  }

  /* What unit i loses alone, in points; a star where it was read off a line. */
  function alone(network, i, percent) {
    if (!network.sweep || !percent) return "";
    const found = model.loss(network, i, percent);
    if (!found) return "not measured";
    return `${found.lost < 0 ? "gains" : "loses"} ${hundredths(network, Math.abs(found.lost))}${found.measured ? "" : "*"}`;
  }

  /* How many images are right if losses add up: a share, or that it is no better than guessing. */
  function right({ network, sum }) {
    const left = network.sweep.right - sum.lost;
    return left > network.sweep.total / network.classes ? `${hundredths(network, left)}%` : "chance";
  }

  function notMeasured({ network, sum }) {
    if (!network.sweep) return "not measured";
    const names = sum.missing.map(({ label, stage, number }) => (number ? label : `${label} ${stage}`));
    return `not measured: ${names.length > 3 ? `${names.length} layers` : names.join(", ")}`;
  }

  function tile(kind, title, figure, ...about) {
    const lines = about.map((text) => h("span", { class: "about" }, text));
    return h("div", { class: `tile ${kind}` }, h("span", { class: "title" }, title), h("strong", {}, figure), ...lines);
  }

  function tiles(plan) {
    const { network, percents, cost, all, sum } = plan;
    const uncut = !percents.some(Boolean);
    const { time, sweep } = network;
    return [
      tile("macs", "multiply-adds", count(cost.macs), fewer(cost.macs, all.macs)),
      tile("weights", "weights", count(cost.weights), fewer(cost.weights, all.weights)),
      tile("bytes", "bytes, float32", size(cost.float32), `float16: ${size(cost.float16)}`),
      sum.lost === null
        ? tile("right", "right after the cut", "unknown", notMeasured(plan))
        : uncut
          ? tile("right", "right", right(plan), "measured uncut")
          : tile("right", "right after the cut", right(plan), "if losses add up", `uncut: ${hundredths(network, sweep.right)}%`),
      time && uncut
        ? tile("time", "time", seconds(time.seconds), "measured uncut")
        : time?.follows
          ? tile("time", "time", seconds((time.seconds * cost.macs) / all.macs), "if in proportion", `uncut: ${seconds(time.seconds)}`)
          : tile("time", "time", "unknown", time ? "not in proportion" : "not measured"),
    ];
  }

  /* What the estimates rest on; `take` is called with rates that a reader would rather have. */
  function notes(plan, take) {
    const { network, cost, sum, percents } = plan;
    const { sweep, time, title } = network;
    const said = [];
    if (!sweep) said.push([`The layers of ${title} have not been cut one by one at full size, so there are no losses to add up.`]);
    else if (sum.lost !== null && percents.some(Boolean)) {
      const star = sum.measured ? "" : " A star (*) marks a number of filters between two that were measured, on the line between them.";
      said.push([
        `Losses: each layer cut alone, on ${count(sweep.total)} ${sweep.split} images, setting ${sweep.setting}. ` +
          `They add up to ${hundredths(network, sum.lost)} points.${star}`,
      ]);
      if (sum.lost < sweep.right) said.push(comparison(plan, take));
    }
    if (time) {
      const cases = time.cases.map(
        (each) =>
          `${each.title} has ${share(each.macs_saved)} fewer multiply-adds, and took ` +
          `${share(Math.abs(each.time_saved))} ${each.time_saved < 0 ? "more" : "less"} time`
      );
      const so = time.follows ? "" : " So multiply-adds do not tell its time here.";
      said.push([`Time: ${title} took ${seconds(time.seconds)} for ${time.what} on ${time.where}. ${cases.join("; ")}.${so}`]);
    }
    if (network.plain) {
      said.push([
        `Without the projection shortcuts, as Table 1 counts: ${count(cost.plainMacs)} multiply-adds, ${count(cost.plainWeights)} weights.`,
      ]);
    }
    return said.map((parts) => h("p", {}, ...parts));
  }

  /* What the best measured rates lose that cost no more. */
  function comparison({ network, cost, sum }, take) {
    const found = model.best(network, "macs", cost.macs);
    if (!found) return ["No measured rates take as few multiply-adds."];
    const least = model.added(network, found).lost;
    if (least >= sum.lost) return ["No measured rates that take as few multiply-adds lose less."];
    const text = `The best measured rates with no more multiply-adds lose ${hundredths(network, least)} points. `;
    return [text, button("Take them", () => take(found), { class: "take" })];
  }

  const headed = (kind, titles, rows) =>
    h("table", { class: `ledger ${kind}` },
      h("thead", {}, h("tr", {}, ...titles.map((title) => h("th", { scope: "col" }, title)))),
      h("tbody", {}, ...rows));

  /* The paper's rows of this network as printed, below ours, and the plan last. */
  function besidePaper({ network, cost, all }) {
    const cell = (ours, printed) => h("td", {}, ours, h("small", {}, printed ?? ""));
    const less = (now, before) => (now === before ? "" : share(1 - now / before));
    const row = (title, { plainMacs, plainWeights }, printed) => [
      h("th", { scope: "row" }, title),
      cell(count(plainMacs), printed?.macs),
      cell(less(plainMacs, all.plainMacs), printed?.macs_pruned),
      cell(count(plainWeights), printed?.weights),
      cell(less(plainWeights, all.plainWeights), printed?.weights_pruned),
      cell("", printed && `${printed.error}%`),
    ];
    const rows = network.presets.map((each) => h("tr", {}, ...row(each.title, model.cost(network, each.percents), each.printed)));
    rows.push(h("tr", { class: "yours" }, ...row("this plan", cost)));
    return headed("", ["network", "multiply-adds", "less", "weights", "less", "error"], rows);
  }

  /* The plan layer by layer, to be printed. */
  function sheet(plan, address) {
    const { network, percents } = plan;
    const rows = network.units.map((unit, i) => {
      const { stage, label, layer, filters } = unit;
      const cells = [stage, label, layer, filters, `${percents[i]}%`, model.kept(filters, percents[i])];
      if (network.sweep) cells.push(alone(network, i, percents[i]));
      return h("tr", {}, ...cells.map((cell) => h("td", {}, String(cell))));
    });
    const titles = ["stage", "layer", "name in the network", "filters", "removed", "stay"];
    if (network.sweep) titles.push("alone, points");
    return [h("p", {}, sentence(plan)), headed("", titles, rows), h("p", {}, address)];
  }

  function sentence(plan) {
    const { network, cost, all, sum, preset } = plan;
    const name = preset?.title ?? `${network.title}, another plan`;
    const guess = sum.lost === null ? "" : ` Right after the cut, if losses add up: ${right(plan)}.`;
    return (
      `${name}: ${count(cost.macs)} multiply-adds, ${fewer(cost.macs, all.macs)}; ` +
      `${count(cost.weights)} weights, ${fewer(cost.weights, all.weights)}.${guess}`
    );
  }

  Object.assign(globalThis.calculator, { alone, besidePaper, button, count, facts, h, notes, sentence, share, sheet, tiles });
})();
