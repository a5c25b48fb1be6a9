/* What the calculator computes (see _ext/calculator.py): functions of a network's data, which know no page.

   A plan is a list of percents, one for each unit of the network: the share of its filters that goes. All counts are
   whole numbers below 2^53, so they are exact; prunekit gives the same ones, and a test compares them. */
"use strict";

(() => {
  /* floor(filters (1 - percent / 100)), in whole numbers: no rounding of a float decides about a filter. */
  function kept(filters, percent) {
    const hundredths = filters * (100 - percent);
    return (hundredths - (hundredths % 100)) / 100;
  }

  /* The largest percent that leaves a filter. */
  function highest(filters) {
    return 100 - Math.ceil(100 / filters);
  }

  function keptOf(network, percents) {
    return network.units.map((unit, i) => kept(unit.filters, percents[i]));
  }

  function value(polynomial, kept) {
    let sum = polynomial.constant;
    polynomial.single.forEach((price, i) => (sum += price * kept[i]));
    for (const [i, j, price] of polynomial.pairs) sum += price * kept[i] * kept[j];
    return sum;
  }

  /* Multiply-adds and weights, with and without projection shortcuts, and bytes in two number formats. */
  function cost(network, percents) {
    const kept = keptOf(network, percents);
    const { macs, weights, numbers, counters } = network.costs;
    const plain = network.plain ?? network.costs;
    const amount = value(numbers, kept);
    return {
      macs: value(macs, kept),
      weights: value(weights, kept),
      plainMacs: value(plain.macs, kept),
      plainWeights: value(plain.weights, kept),
      float32: 4 * amount + counters,
      float16: 2 * amount + counters,
    };
  }

  const whole = (network) => network.units.map(() => 0);

  /* How many images fewer unit i alone gets right at a rate: as measured, or on the line between the two measured
     counts of filters around it. Null if it was not swept, or not as far. */
  function loss(network, i, percent) {
    const options = network.sweep?.options[i];
    const stays = kept(network.units[i].filters, percent);
    if (stays === network.units[i].filters) return { lost: 0, measured: true };
    if (!options || stays < options.at(-1)[1]) return null;
    const below = options.findIndex(([, count]) => count <= stays);
    const [, count, lost] = options[below];
    if (count === stays) return { lost, measured: true };
    const [, more, before] = options[below - 1];
    return { lost: before + ((lost - before) * (more - stays)) / (more - count), measured: false };
  }

  /* The losses of all units added up: images lost, whether each was measured at just this count, and, where there is
     no sum, the units that stand in the way. */
  function added(network, percents) {
    const losses = percents.map((percent, i) => loss(network, i, percent));
    const missing = network.units.filter((unit, i) => losses[i] === null);
    if (!network.sweep || missing.length) return { lost: null, measured: false, missing };
    const lost = losses.reduce((sum, each) => sum + each.lost, 0);
    return { lost, measured: losses.every((each) => each.measured), missing };
  }

  /* What each option of each swept unit costs and loses; all other units stay whole. Null where two units that are no
     neighbors share a cost: then a chain is not enough. */
  function chain(network, quantity) {
    const polynomial = network.costs[quantity];
    const swept = network.units.map((_, i) => i).filter((i) => network.sweep.options[i]);
    const place = new Map(swept.map((unit, at) => [unit, at]));
    const single = [...polynomial.single];
    const next = swept.map(() => 0); // the price of a pair of filters of this unit and the one before
    let constant = polynomial.constant;
    for (const [i, j, price] of polynomial.pairs) {
      const [a, b] = [place.get(i), place.get(j)];
      const full = (unit) => network.units[unit].filters;
      if (a === undefined && b === undefined) constant += price * full(i) * full(j);
      else if (a === undefined) single[j] += price * full(i);
      else if (b === undefined) single[i] += price * full(j);
      else if (b - a === 1) next[b] += price;
      else return null;
    }
    polynomial.single.forEach((_, i) => {
      if (!place.has(i)) constant += single[i] * network.units[i].filters;
    });
    const links = swept.map((unit, at) => ({
      unit,
      price: single[unit],
      pair: next[at],
      options: network.sweep.options[unit].filter(([percent, count]) => !percent || count < network.units[unit].filters),
    }));
    return { constant, links };
  }

  /* The least cost for each option of the last link and each sum of losses below `width`, link after link; losses count
     from the least that a link can lose. Remembers the option before. */
  function tables({ constant, links }, width) {
    let before = null;
    return links.map(({ price, pair, options }, at) => {
      const least = Math.min(...options.map(([, , lost]) => lost));
      const table = options.map(() => ({ cost: new Float64Array(width).fill(Infinity), from: new Uint8Array(width) }));
      options.forEach(([, count, lost], r) => {
        const { cost, from } = table[r];
        const shift = lost - least;
        if (!at) {
          if (shift < width) cost[shift] = constant + price * count;
          return;
        }
        links[at - 1].options.forEach(([, earlier], q) => {
          const add = price * count + pair * earlier * count;
          const source = before[q].cost;
          for (let sum = shift; sum < width; sum++) {
            const total = source[sum - shift] + add;
            if (total < cost[sum]) {
              cost[sum] = total;
              from[sum] = q;
            }
          }
        });
      });
      before = table;
      return { table, least };
    });
  }

  /* The least cost of any choice: what a budget cannot go below. */
  function smallest(network, quantity) {
    const percents = whole(network);
    network.sweep.options.forEach((options, i) => {
      if (options) percents[i] = options.at(-1)[0];
    });
    return cost(network, percents)[quantity];
  }

  /* The percents that lose the least in sum for a cost within `limit`, of those the cheapest; from measured rates only.
     Exact, as prunekit's `plan_by_sensitivity`. Null if nothing is within the limit. */
  function best(network, quantity, limit) {
    const found = network.sweep && chain(network, quantity);
    if (!found || smallest(network, quantity) > limit) return null;
    for (let width = 512; ; width *= 4) {
      const steps = tables(found, width);
      const last = steps.at(-1).table;
      for (let sum = 0; sum < width; sum++) {
        const costs = last.map(({ cost }) => cost[sum]);
        const least = Math.min(...costs);
        if (least <= limit) return walkedBack(network, found.links, steps, costs.indexOf(least), sum);
      }
    }
  }

  function walkedBack(network, links, steps, option, sum) {
    const percents = whole(network);
    for (let at = links.length - 1; at >= 0; at--) {
      const [percent, , lost] = links[at].options[option];
      percents[links[at].unit] = percent;
      option = steps[at].table[option].from[sum];
      sum -= lost - steps[at].least;
    }
    return percents;
  }

  /* A share of a whole network's cost as a count, as prunekit reads it. */
  function limitOf(network, quantity, percent) {
    const all = cost(network, whole(network))[quantity] * percent;
    return (all - (all % 100)) / 100;
  }

  /* The part of an address that stands for a plan: network=vgg16&cut=1:50,8-13:50. A range runs over the units in their
     order. */
  function encode(network, percents) {
    const runs = [];
    percents.forEach((percent, i) => {
      const run = runs.at(-1);
      if (run && run.percent === percent) run.last = i;
      else runs.push({ first: i, last: i, percent });
    });
    const key = (i) => network.units[i].key;
    const cuts = runs
      .filter((run) => run.percent)
      .map(({ first, last, percent }) => `${key(first)}${last > first ? `-${key(last)}` : ""}:${percent}`);
    return `network=${network.name}${cuts.length ? `&cut=${cuts.join(",")}` : ""}`;
  }

  /* The plan that an address asks for, and what of it could not be read. Nonsense is left out, never guessed at. */
  function decode(networks, query) {
    const asked = new URLSearchParams(query);
    const name = asked.get("network");
    const network = networks.find((each) => each.name === name) ?? networks[0];
    const percents = whole(network);
    const unread = [];
    if (name !== null && network.name !== name) return { network, percents, unread: [`network=${name}`] };
    for (const part of (asked.get("cut") ?? "").split(",").filter(Boolean)) {
      const [, from, to = from, digits] = /^(\w+)(?:-(\w+))?:(\d{1,2})$/.exec(part) ?? [];
      const [first, last] = [from, to].map((key) => network.units.findIndex((unit) => unit.key === key));
      const percent = Number(digits);
      const range = network.units.slice(first, last + 1);
      if (first < 0 || !range.length || range.some((unit) => percent > highest(unit.filters))) unread.push(part);
      else percents.fill(percent, first, last + 1);
    }
    return { network, percents, unread };
  }

  /* The plan in Python, which makes a network of just this cost. */
  function python(network, percents) {
    const rates = network.units
      .map(({ layer }, i) => [layer, percents[i]])
      .filter(([, percent]) => percent)
      .map(([layer, percent]) => `    "${layer}": ${percent / 100},`);
    const first = ["import torch", "import prunekit as pk", ""];
    const made = [`model, x = pk.nets.${network.name}(), torch.zeros(${network.shape.join(", ")})`];
    if (!rates.length) return [...first, ...made, "print(pk.costs.total(model, x))"].join("\n");
    return [
      ...first,
      ...made,
      "graph = pk.trace(model, x)",
      "plan = pk.plan(graph, {",
      ...rates,
      '}, criterion="l1")',
      "small = pk.prune(model, plan)",
      "print(pk.costs.total(small, x))",
    ].join("\n");
  }

  globalThis.calculator = {
    added, best, cost, decode, encode, highest, kept, keptOf, limitOf, loss, python, smallest, value, whole,
  };
})();
