"use strict";
(() => {
  const PER_PAGE = 25;
  const LONG = 20000;
  const VERDICTS = { supported: "✓ supported", contradicted: "✗ contradicted", not_mentioned: "? not mentioned" };
  const list = document.getElementById("list");
  const names = JSON.parse(list.dataset.names);
  const two = names.length > 1;
  const starts = list.dataset.starts.split(" ").filter(Boolean).map(Number);
  const blocks = [...document.getElementsByClassName("packed-passages")];
  const opened = new Map();
  const lower = new Map();
  let rows = [];
  let shown = [];
  let small = null;

  // What comes from items is set as text alone: no markup is ever read from it.
  function make(tag, options, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(options || {})) {
      if (value === undefined || value === null || value === false) continue;
      if (name in node && name !== "list") node[name] = value;
      else node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
    return node;
  }

  async function unpack(node) {
    const text = atob(node.textContent);
    const bytes = new Uint8Array(text.length);
    for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
    node.textContent = "";
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
  }

  function block(at) {
    if (!opened.has(at)) opened.set(at, unpack(blocks[at]));
    return opened.get(at);
  }

  async function passage(number) {
    if (number < 0) return null;
    let at = starts.length - 1;
    while (starts[at] > number) at--;
    return (await block(at))[number - starts[at]];
  }

  // Filters

  const defaults = { q: "", judge: "", label: "", kind: "", model: "", dataset: "", cause: "", change: "", disagree: "", document: "", id: "",
    order: "high", page: "1" };
  const state = { ...defaults };

  const has = (row, name, value) => row[name] === value || sidesOf(row).some((side) => side[name] === value);
  const sidesOf = (row) => row.sides.filter(Boolean);
  const disagrees = (side) => side.label !== undefined && side.flagged !== undefined && Boolean(side.label) !== side.flagged;
  const scoreOf = (row) => Math.max(...sidesOf(row).map((side) => side.score ?? -1));
  const eventOf = (side) => (list.dataset.by === "labels" ? side.label === undefined ? undefined : Boolean(side.label)
    : side.flagged);

  // What became of an answer, from the first run to any of the others.
  function changesOf(row) {
    const was = row.sides[0] ? eventOf(row.sides[0]) : undefined;
    return row.sides.slice(1).map((side) => {
      const is = side ? eventOf(side) : undefined;
      if (was === undefined || is === undefined) return "unknown";
      return was === is ? (is ? "both" : "neither") : is ? "worse" : "better";
    });
  }

  const judged = { yes: (side) => side.flagged === true, no: (side) => side.flagged === false,
    failed: (side) => side.flagged === undefined };
  const labelled = { 1: (side) => side.label === 1, 0: (side) => side.label === 0, none: (side) => side.label === undefined };

  function passes(row) {
    const some = (test) => !test || sidesOf(row).some(test);
    return some(judged[state.judge]) && some(labelled[state.label]) && some(state.disagree && disagrees)
      && ["kind", "model", "dataset", "cause", "document", "id"].every((name) => !state[name] || has(row, name, state[name]))
      && (!state.change || changesOf(row).includes(state.change));
  }

  function ownText(row) {
    if (!lower.has(row)) {
      const parts = [row.id, row.question || "", row.document || ""];
      for (const side of sidesOf(row)) {
        parts.push(side.response || "", side.model || "", ...(side.names || []));
        for (const claim of side.claims || []) parts.push(claim.text);
      }
      lower.set(row, parts.join("\n").toLowerCase());
    }
    return lower.get(row);
  }

  async function search(words) {
    const texts = (await Promise.all(blocks.map((_, at) => block(at)))).flat();
    small = small || texts.map((text) => text.toLowerCase());
    const holding = words.map((word) => new Set([...small.keys()].filter((at) => small[at].includes(word))));
    return (row) => words.every((word, at) => ownText(row).includes(word)
      || sidesOf(row).some((side) => (side.passages || []).some((number) => holding[at].has(number))));
  }

  let turn = 0;
  async function apply(page) {
    const mine = ++turn;
    state.page = String(page || 1);
    const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    const found = words.length ? await search(words) : () => true;
    if (mine !== turn) return;
    shown = rows.filter((row) => passes(row) && found(row));
    if (state.order !== "file") {
      const sign = state.order === "high" ? -1 : 1;
      const places = new Map(shown.map((row) => {
        const score = scoreOf(row);
        const calm = two && sign < 0 && !changesOf(row).some((change) => CHANGES[change]);
        return [row, 8 * calm + 4 * (score < 0) + sign * score];
      }));
      shown.sort((a, b) => places.get(a) - places.get(b) || a.at - b.at);
    }
    remember();
    draw();
  }

  function remember() {
    const kept = new URLSearchParams();
    for (const [name, value] of Object.entries(state)) if (value !== defaults[name]) kept.set(name, value);
    if (kept.toString() !== location.hash.slice(1)) history.replaceState(null, "", `#${kept}`);
  }

  function recall() {
    const kept = new URLSearchParams(location.hash.slice(1));
    for (const name of Object.keys(state)) state[name] = kept.get(name) ?? defaults[name];
    return show(Number(state.page) || 1);
  }

  // What the fields say follows the state, whoever changed it.
  function show(page) {
    for (const field of list.querySelectorAll("[data-state]")) {
      if (field.type === "checkbox") field.checked = Boolean(state[field.dataset.state]);
      else field.value = state[field.dataset.state];
    }
    return apply(page);
  }

  // Controls

  function choice(name, label, options) {
    const select = make("select", { onchange: () => { state[name] = select.value; apply(); } });
    select.dataset.state = name;
    for (const [value, text] of options) select.append(make("option", { value, textContent: text }));
    return make("label", {}, label, select);
  }

  function values(of) {
    return [...new Set(rows.flatMap(of))].filter(Boolean).sort();
  }

  function controls() {
    const box = make("input", { type: "search", autocomplete: "off", placeholder: "words of questions, answers, passages" });
    box.dataset.state = "q";
    let wait;
    box.oninput = () => { clearTimeout(wait); wait = setTimeout(() => { state.q = box.value; apply(); }, 150); };
    const odd = make("input", { type: "checkbox", onchange: () => { state.disagree = odd.checked ? "1" : ""; apply(); } });
    odd.dataset.state = "disagree";
    const several = (name, label, least) => {
      const found = values((row) => [row[name], ...sidesOf(row).map((side) => side[name])]);
      return found.length >= least ? choice(name, label, [["", "all"], ...found.map((value) => [value, value])]) : null;
    };
    const some = (test) => rows.some((row) => sidesOf(row).some(test));
    const all = [["", "all"]];
    return make("div", { className: "filters", role: "search" },
      make("label", { className: "wide" }, "Search", box),
      two ? choice("change", "What changed", [...all, ["worse", "became worse"], ["better", "became better"],
        ["both", "bad in both"], ["neither", "good in both"]]) : null,
      choice("judge", "The judge", [...all, ["yes", "flags it"], ["no", "lets it pass"], ["failed", "failed"]]),
      some((side) => side.label !== undefined) ? choice("label", "People said", [...all, ["1", "hallucinated"],
        ["0", "supported"], ["none", "nothing"]]) : null,
      several("kind", "Kind", 2), several("model", "Model", 2), several("dataset", "Set", 2), several("cause", "Cause", 1),
      choice("order", "Order", [["high", two ? "changed first" : "highest score first"], ["low", "lowest score first"], ["file", "as they came"]]),
      some((side) => side.label !== undefined) ? make("label", { className: "check" }, odd, "Judge and people disagree") : null);
  }

  function pins() {
    return [["document", "document"], ["id", "answer"]].filter(([name]) => state[name]).map(([name, word]) => make("button", {
      type: "button", textContent: `only ${word} ${state[name]} ✕`, onclick: () => choose(name, "", "q") }));
  }

  // What was pressed is drawn anew: the focus goes to what says the same.
  async function choose(name, value, next) {
    state[name] = value;
    await show();
    list.scrollIntoView();
    (list.querySelector(`[data-state=${next}]`) || pinned.lastChild).focus({ preventScroll: true });
  }

  const status = make("span", { role: "status" });
  const results = make("div", { id: "results" });
  const pinned = make("span");
  const pager = make("div", { className: "bar" });

  function draw() {
    const pages = Math.max(1, Math.ceil(shown.length / PER_PAGE));
    const page = Math.min(Math.max(Number(state.page), 1), pages);
    status.textContent = `${shown.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} answers`;
    pinned.replaceChildren(...pins());
    results.replaceChildren(...shown.slice((page - 1) * PER_PAGE, page * PER_PAGE).map(drawn));
    const go = (to, text) => make("button", { type: "button", textContent: text, disabled: to < 1 || to > pages,
      onclick: () => apply(to).then(() => { list.scrollIntoView(); results.querySelector("summary").focus(); }) });
    pager.replaceChildren(go(page - 1, "← Previous"), make("span", { textContent: `page ${page} of ${pages}` }),
      go(page + 1, "Next →"));
    if (state.id && shown.length === 1) results.firstChild.open = true;
    emphasise();
  }

  // Items

  const chip = (text, tone) => make("span", { className: `chip ${tone || ""}`, textContent: text });

  function chips(side) {
    const made = [];
    if (side.flagged === undefined) made.push(chip("no judgement", "waits"));
    else made.push(chip(`${side.score.toFixed(2)} ${side.flagged ? "flagged" : "passes"}`, side.flagged ? "bad" : ""));
    if (side.label !== undefined) made.push(side.label ? chip("people: hallucinated", "bad") : chip("people: supported", "good"));
    if (disagrees(side)) made.push(chip("they disagree", "waits"));
    if (side.refused) made.push(chip("refuses"));
    if (side.cause) made.push(chip(side.cause));
    return made;
  }

  const CHANGES = { worse: ["became worse", "bad"], better: ["became better", "good"] };

  function drawn(row) {
    const first = sidesOf(row)[0];
    const changes = two ? [...new Set(changesOf(row))].filter((change) => CHANGES[change]) : [];
    const top = make("span", { className: "chips" }, ...changes.map((change) => chip(...CHANGES[change])),
      ...(two ? row.sides.flatMap((side, at) => (side ? [make("span", { className: "quiet", textContent: names[at] }), ...chips(side)] : []))
        : chips(first)), row.kind ? chip(row.kind) : null);
    const node = make("details", { className: "item" }, make("summary", {}, top,
      row.question ? make("div", { className: "small quiet", textContent: row.question.slice(0, 300) }) : null,
      make("div", { className: "said", dir: "auto", textContent: first.response ? first.response.slice(0, 400) : "(empty answer)" })));
    node.ontoggle = () => { if (node.open && node.childElementCount === 1) { node.append(body(row)); emphasise(); } };
    return node;
  }

  function pin(name, value) {
    return make("button", { type: "button", className: "link", textContent: value,
      onclick: () => choose(name, value, name) });
  }

  function body(row) {
    const node = make("div", { className: "body" });
    node.append(make("p", { className: "small quiet" }, "answer ", pin("id", row.id),
      ...(row.document ? [" · document ", pin("document", row.document)] : [])));
    node.append(make("div", { className: two ? "sides two" : "sides" }, ...row.sides.map((side, at) => (
      side ? sideOf(side, two ? names[at] : "") : make("div", {}, make("h3", { textContent: names[at] }), "not there")))));
    // Answers from the same passages show them once, below all.
    const sides = sidesOf(row);
    const alike = sides.every((side) => String(side.passages) === String(sides[0].passages));
    const below = alike ? [[node, sides[0]]] : row.sides.flatMap((side, at) => (side ? [[node.lastChild.children[at], side]] : []));
    for (const [where, side] of below) {
      const passages = make("div");
      where.append(make("h3", { textContent: `Passages (${(side.passages || []).length})` }), passages);
      fill(passages, side);
    }
    return node;
  }

  function sideOf(side, name) {
    const node = make("div");
    const said = unrolled(side.response || "", "text response", (from, to) => marked(side, from, to));
    const titled = (title, ...children) => node.append(make("h3", { textContent: title }), ...children);
    if (name) node.append(make("h3", { textContent: name }), make("div", { className: "chips" }, ...chips(side)));
    if (side.failed) titled("Why there is no judgement", make("p", { textContent: side.failed }));
    titled(side.model ? `Answer of ${side.model}` : "Answer", said.node, said.more, ...key(side));
    if (side.caveat) titled("Why the score may mean little", make("p", { textContent: side.caveat }));
    if (side.claims) titled("Claims", make("ul", { className: "claims" }, ...side.claims.map((claim, at) => claimed(claim, at, said))));
    if (side.reasons) titled("The judge's reasons", reasons(side.reasons));
    if (side.others) titled("Other detectors", make("p", { className: "small", textContent:
      Object.entries(side.others).map(([other, score]) => `${other} ${score}`).join(" · ") }));
    return node;
  }

  const reasons = (texts) => make("ul", { className: "reasons" }, ...texts.map((text) => make("li", { textContent: text })));

  // A very long text is drawn piece by piece: a browser takes minutes to lay a million letters out at once.
  function unrolled(text, className, draw) {
    const node = make("div", { className, dir: "auto" });
    const more = make("button", { type: "button", onclick: () => { grow(); emphasise(); } });
    let drawn = 0;
    function grow() {
      let end = drawn + LONG;
      const space = text.indexOf(" ", end);
      if (space >= 0 && space < end + 100) end = space + 1;
      else if (/[\uDC00-\uDFFF]/.test(text[end] || "")) end += 1;
      end = Math.min(end, text.length);
      node.append(...(text.length > LONG ? [make("div", { dir: "auto" }, ...draw(drawn, end))] : draw(drawn, end)));
      drawn = end;
      more.hidden = drawn === text.length;
      more.textContent = `Show more of it (${(text.length - drawn).toLocaleString("en")} characters)`;
    }
    grow();
    return { node, more, reveal: (at) => { while (at >= drawn && drawn < text.length) grow(); } };
  }

  // Ranges may overlap: the text is cut wherever one begins or ends, and each piece knows all that cover it.
  function marked(side, from, to) {
    const text = side.response || "";
    const ranges = [...(side.spans || []).map((span) => [...span, "judge"]), ...(side.marked || []).map((span) => [...span, "people"])];
    (side.claims || []).forEach((claim, at) => { if (claim.span) ranges.push([...claim.span, at]); });
    const inside = (at) => Math.min(Math.max(at, from), to);
    const cuts = [...new Set([from, to, ...ranges.flatMap(([start, end]) => [inside(start), inside(end)])])].sort((a, b) => a - b);
    return cuts.slice(1).map((end, at) => {
      const piece = text.slice(cuts[at], end);
      const over = ranges.filter((range) => range[0] <= cuts[at] && range[1] >= end);
      if (!over.length) return piece;
      const who = [...new Set(over.map((range) => range[3]).filter((by) => typeof by === "string"))];
      const title = over.filter((range) => typeof range[3] === "string").map((range) => `${range[3]}: ${range[2]}`).join("; ");
      const node = make(who.length ? "mark" : "span", { className: who.join(" "), title, textContent: piece });
      node.dataset.claims = over.map((range) => range[3]).filter((by) => typeof by === "number").join(" ");
      return node;
    });
  }

  function key(side) {
    const parts = [];
    if (side.spans) parts.push(make("mark", { className: "judge", textContent: "wavy line" }), ": unsupported, says the judge. ");
    if (side.marked) parts.push(make("mark", { className: "people", textContent: "straight line" }), ": unsupported, say people.");
    return parts.length ? [make("p", { className: "key" }, ...parts)] : [];
  }

  function claimed(claim, at, said) {
    const tone = claim.verdict === "supported" ? "good" : "bad";
    const choose = () => {
      said.reveal(claim.span[0]);
      for (const piece of said.node.querySelectorAll("[data-claims]")) {
        piece.classList.toggle("chosen", piece.dataset.claims.split(" ").includes(String(at)));
      }
    };
    const text = claim.span ? make("button", { type: "button", className: "link", onclick: choose, textContent: claim.text,
      title: "Show where the answer says so" }) : make("span", { textContent: claim.text });
    return make("li", {}, make("span", { className: "chips" }, chip(VERDICTS[claim.verdict] || claim.verdict, tone),
      chip(claim.score.toFixed(2))), text, claim.reasons ? reasons(claim.reasons) : null);
  }

  async function fill(node, side) {
    const numbers = side.passages || [];
    const texts = await Promise.all(numbers.map(passage));
    const title = (at) => (side.names && side.names[at]) || `passage ${at + 1}`;
    node.replaceChildren(...texts.map((found, at) => {
      const text = found === null ? "left out to keep this page small" : found;
      const told = unrolled(text, "text", (from, to) => [text.slice(from, to)]);
      return make("div", { className: "passage" },
        make("div", { className: "chips" }, make("span", { className: "quiet", textContent: title(at) }),
          (side.cited || []).includes(at) ? chip("cited") : null), told.node, told.more);
    }));
    if (!numbers.length) node.append(make("p", { className: "quiet small", textContent: "none: the answer rests on nothing" }));
    for (const one of node.querySelectorAll(".text")) if (one.scrollHeight > one.clientHeight + 1) one.tabIndex = 0;
    emphasise();
  }

  function emphasise() {
    if (!window.CSS || !CSS.highlights) return;
    const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    const ranges = [];
    const walk = words.length ? document.createTreeWalker(results, NodeFilter.SHOW_TEXT) : null;
    while (walk && walk.nextNode()) {
      const text = walk.currentNode.data.toLowerCase();
      if (text.length !== walk.currentNode.data.length) continue;
      for (const word of words) {
        for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
          const range = new Range();
          range.setStart(walk.currentNode, at);
          range.setEnd(walk.currentNode, at + word.length);
          ranges.push(range);
        }
      }
    }
    CSS.highlights.set("found", new Highlight(...ranges));
  }

  // Names of kinds, documents and causes in the tables above become filters.
  function link() {
    const known = {};
    for (const name of ["kind", "model", "dataset", "document", "id", "cause"]) {
      known[name] = new Set(rows.flatMap((row) => [row[name], ...sidesOf(row).map((side) => side[name])]));
    }
    for (const cell of document.querySelectorAll("[data-filter]")) {
      const { filter, value } = cell.dataset;
      const tried = filter === "document" ? ["document", "id"] : [filter];
      const name = tried.find((one) => known[one].has(value));
      if (name) cell.replaceChildren(pin(name, value));
    }
  }

  async function begin() {
    if (!("DecompressionStream" in window)) {
      list.textContent = "This browser is too old to open the list of answers: Chrome 80, Firefox 113 and Safari 16.4 can.";
      return;
    }
    rows = await unpack(document.getElementById("packed-items"));
    rows.forEach((row, at) => { row.at = at; });
    list.replaceChildren(controls(), make("div", { className: "bar" }, status, pinned), results, pager);
    window.addEventListener("hashchange", () => recall());
    await recall();
    list.dataset.ready = String(Math.round(performance.now()));
    setTimeout(link);
  }

  begin();
})();
