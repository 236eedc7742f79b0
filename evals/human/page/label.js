// One item at a time. Every text goes in as a text node: nothing that a model or a document wrote becomes markup.
const byId = (id) => document.getElementById(id);
const words = { 1: "hallucinated", 0: "supported", null: "cannot say" };
const state = { labels: [], at: 0, changes: [], drafts: new Map(), busy: false, noting: null, shown: null, chosen: -1 };

async function ask(method, path, body) {
  const options = { method, cache: "no-store", headers: {}, signal: AbortSignal.timeout(20_000) };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["content-type"] = "application/json";
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("not saved: the command that serves this page has ended. Start it again: what was saved is kept.");
  }
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(found.error ?? `the server answered ${answer.status}`);
  return found;
}

// What changes labels goes one after the other, and the page shows it only when it is on disk.
async function alone(work) {
  await state.noting;
  await now(work);
}

async function now(work) {
  if (state.busy) return;
  state.busy = true;
  document.body.setAttribute("aria-busy", "true");
  byId("alert").hidden = true;
  try {
    await work();
  } catch (error) {
    byId("alert").textContent = error.message;
    byId("alert").hidden = false;
    byId("status").textContent = "";
  } finally {
    showProgress();
    state.busy = false;
    document.body.removeAttribute("aria-busy");
  }
}

const total = () => state.labels.length;
const left = () => state.labels.filter((label) => label === null).length;
const valueOf = (name) => (name === "u" ? null : Number(name));

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function showProgress() {
  byId("progress").max = Math.max(1, total());
  byId("progress").value = total() - left();
  byId("count").textContent = `${total() - left()} of ${total()} labelled`;
}

function showLabel() {
  const label = state.labels[state.at];
  for (const button of document.querySelectorAll("[data-value]")) {
    const pressed = label !== null && label.value === valueOf(button.dataset.value);
    button.setAttribute("aria-pressed", String(pressed));
  }
}

function showResponse(pieces) {
  byId("response").replaceChildren(
    ...pieces.map(({ text, claim }) => {
      if (!claim) return document.createTextNode(text);
      const sentence = element("button", text, "sentence");
      sentence.type = "button";
      sentence.setAttribute("aria-pressed", "false");
      sentence.addEventListener("click", () => choose(sentences().indexOf(sentence)));
      return sentence;
    }),
  );
  if (!pieces.length) byId("response").append(element("span", "(empty)", "quiet"));
}

const sentences = () => [...document.querySelectorAll(".sentence")];
const pattern = /[\p{L}\p{N}]+/gu;

// The words of one sentence are marked in the passages; short ones are left out, as they are everywhere.
function choose(position) {
  state.chosen = position === state.chosen ? -1 : position;
  let wanted = new Set();
  sentences().forEach((sentence, at) => {
    const chosen = at === state.chosen;
    sentence.setAttribute("aria-pressed", String(chosen));
    if (!chosen) return;
    const found = sentence.textContent.toLowerCase().match(pattern) ?? [];
    wanted = new Set(found.filter((word) => word.length > 3 || /\p{N}/u.test(word)));
  });
  showPassages(wanted);
  byId("passages").querySelector("mark")?.scrollIntoView({ block: "nearest" });
}

function showPassages(wanted) {
  const lines = state.shown.passages.map((text) => {
    const line = element("li");
    let end = 0;
    for (const match of wanted.size ? text.matchAll(pattern) : []) {
      if (!wanted.has(match[0].toLowerCase())) continue;
      line.append(text.slice(end, match.index), element("mark", match[0]));
      end = match.index + match[0].length;
    }
    line.append(text.slice(end));
    return line;
  });
  byId("passages").replaceChildren(...lines);
  if (!lines.length) byId("passages").append(element("p", "There are none.", "quiet"));
}

function showJudge(judge) {
  byId("judge").hidden = judge === null;
  if (judge === null) return;
  const score = judge.score === null ? `failed: ${judge.failed}` : `score ${judge.score.toFixed(2)}`;
  byId("judge").replaceChildren(element("b", `${judge.name}: ${score}`), ...judge.reasons.map((one) => element("div", one)));
}

async function goTo(position) {
  const at = Math.max(0, Math.min(position, total()));
  if (at === total()) return left() ? goTo(firstLeft(0)) : showDone();
  const shown = await ask("GET", `items/${at}`);
  Object.assign(state, { at, shown, chosen: -1 });
  byId("question").textContent = shown.question ?? "(none)";
  byId("place").textContent = `· item ${at + 1} of ${total()}`;
  showResponse(shown.response);
  showPassages(new Set());
  showJudge(shown.judge);
  byId("note").value = state.drafts.get(at) ?? state.labels[at]?.note ?? "";
  showLabel();
  byId("done").hidden = true;
  byId("item").hidden = byId("choices").hidden = false;
  document.activeElement?.blur(); // else Enter would press the button again that labelled the last item
  document.querySelector(".said").scrollTop = 0;
  window.scrollTo(0, 0);
}

function firstLeft(from) {
  for (let step = 0; step < total(); step += 1) {
    const at = (from + step) % total();
    if (state.labels[at] === null) return at;
  }
  return total();
}

async function showDone() {
  const found = await ask("GET", "state");
  state.at = total();
  byId("item").hidden = byId("choices").hidden = true;
  byId("done").hidden = false;
  byId("done-title").textContent = `All ${total()} items are labelled.`;
  byId("waits").textContent = found.waits.length ? `Not done yet: ${found.waits.join(", ")}.` : "";
  const share = (value) => value.toFixed(2);
  const figures = Object.entries(found.agreement?.figures ?? {}).flatMap(([name, one]) => {
    const text = one === null ? "undefined: all labels are the same" : `${share(one.value)} [${share(one.low)}, ${share(one.high)}]`;
    return [element("dt", name), element("dd", text)];
  });
  byId("agreement").replaceChildren(...figures);
  byId("disputed").textContent = found.agreement
    ? `${found.agreement.annotators.join(" and ")} differ on ${found.agreement.disputed} of ${found.agreement.items} items.`
    : "";
  byId("done-title").focus();
}

async function save(at, said) {
  if (said === null) await ask("DELETE", `labels/${at}`, {});
  else await ask("PUT", `labels/${at}`, said);
  state.labels[at] = said;
  state.drafts.delete(at);
}

const label = (value) =>
  alone(async () => {
    if (state.at >= total()) return;
    const at = state.at;
    const before = state.labels[at];
    await save(at, { value, note: byId("note").value.trim() });
    state.changes.push([at, before]);
    byId("status").textContent = `saved: ${words[value]}`;
    await goTo(before === null ? firstLeft(at + 1) : at);
  });

const undo = () =>
  alone(async () => {
    const change = state.changes.at(-1);
    if (!change) return void (byId("status").textContent = "nothing to undo");
    await save(...change);
    state.changes.pop();
    byId("status").textContent = "undone";
    await goTo(change[0]);
  });

// A note on an item without a label waits for the label. Whoever leaves it by a click gets both: the click waits too.
const saveNote = () => {
  const [at, before, note] = [state.at, state.labels[state.at], byId("note").value.trim()];
  if (!before) return void state.drafts.set(at, byId("note").value);
  if (before.note === note) return;
  state.noting = now(async () => {
    await save(at, { value: before.value, note });
    state.changes.push([at, before]);
    byId("status").textContent = "note saved";
  });
};

const finish = () =>
  alone(async () => {
    await ask("POST", "finish", {});
    byId("done-title").textContent = "Finished. You can close this page.";
    byId("finish").hidden = true;
  });

const move = (position) => alone(() => goTo(position));
const onward = () => (state.at >= total() ? finish() : move(firstLeft(state.at + 1)));
const step = (by) => {
  const count = sentences().length;
  if (count) choose((Math.max(state.chosen, by < 0 ? 0 : -1) + by + count) % count);
};
const help = () => (byId("help").open ? byId("help").close() : byId("help").showModal());

const keys = {
  1: () => label(1), h: () => label(1), 0: () => label(0), s: () => label(0), u: () => label(null),
  j: () => move(state.at + 1), ArrowRight: () => move(state.at + 1),
  k: () => move(state.at - 1), ArrowLeft: () => move(state.at - 1),
  c: () => step(1), C: () => step(-1), n: () => byId("note").focus(), z: undo, Enter: onward, "?": help,
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey && event.key === "z" && event.target !== byId("note")) event.preventDefault(), undo();
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.repeat) return;
  if (event.target === byId("note")) {
    if (event.key === "Escape") byId("note").blur();
    return;
  }
  if (event.key === "Enter" && event.target.closest("button")) return;
  if (byId("help").open && event.key !== "?") return;
  const action = keys[event.key] ?? keys[event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  action();
});
for (const button of document.querySelectorAll("[data-value]")) {
  button.addEventListener("click", () => label(valueOf(button.dataset.value)));
}
byId("note").addEventListener("blur", saveNote);
byId("previous").addEventListener("click", () => move(state.at - 1));
byId("next").addEventListener("click", () => move(state.at + 1));
byId("undo").addEventListener("click", undo);
byId("finish").addEventListener("click", finish);
byId("help-button").addEventListener("click", help);
byId("help-close").addEventListener("click", help);

alone(async () => {
  const found = await ask("GET", "state");
  state.labels = found.labels;
  document.title = `${found.name}: labelling`;
  byId("name").textContent = found.name;
  byId("annotator").textContent = found.annotator;
  await goTo(firstLeft(0));
});
