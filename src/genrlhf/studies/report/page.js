"use strict";
(() => {
  const part = (id) => document.getElementById(id);
  const data = JSON.parse(part("data").textContent);

  function made(kind, className, text) {
    const element = document.createElement(kind);
    if (className) {
      element.className = className;
    }
    if (text !== undefined) {
      element.textContent = text;
    }
    return element;
  }

  // Texts are of any language and direction, and none that the page knows.
  function textBox(text) {
    const box = made("div", "text", text);
    box.dir = "auto";
    box.lang = "";
    return box;
  }

  // A new element is read out, even if it says what was there before.
  function announce(text) {
    part("status").replaceChildren(made("span", "", text));
  }

  // Tables: the rows of a method stay together, and what has no value comes last either way.

  function valueOf(body, column) {
    const cell = body.rows[0].cells[column];
    const value = cell.dataset.value ?? "";
    return value === "" ? null : Number(value);
  }

  function sortBy(table, head, column) {
    const before = head.getAttribute("aria-sort");
    const rising = before ? before === "descending" : head.dataset.sort === "order";
    for (const other of table.querySelectorAll("[aria-sort]")) {
      other.removeAttribute("aria-sort");
    }
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const bodies = [...table.tBodies].map((body, order) => ({ body, order: Number(body.dataset.order ?? order) }));
    const sign = rising ? 1 : -1;
    bodies.sort((one, other) => {
      const [a, b] = [valueOf(one.body, column), valueOf(other.body, column)];
      if (a === null || b === null) {
        return (a === null) - (b === null) || one.order - other.order;
      }
      return sign * (a - b) || one.order - other.order;
    });
    table.append(...bodies.map((one) => one.body));
  }

  for (const table of document.querySelectorAll("table.figures")) {
    [...table.tBodies].forEach((body, order) => {
      body.dataset.order = order;
    });
    table.querySelectorAll("thead tr:last-child th").forEach((head, column) => {
      if (head.dataset.sort) {
        const button = made("button", "sort");
        button.type = "button";
        button.append(...head.childNodes);
        button.addEventListener("click", () => sortBy(table, head, column));
        head.append(button);
      }
    });
  }

  if (document.querySelector(".seed")) {
    const box = part("seeds");
    const show = () => document.body.classList.toggle("without-seeds", !box.checked);
    part("seed-switch").hidden = false;
    box.addEventListener("change", show);
    show();
  }

  // Plots: a press on a name in a legend takes its method out of the plot, another one puts it back.

  for (const entry of document.querySelectorAll("figure .legend [data-series]")) {
    const drawn = entry.closest("figure").querySelectorAll(`.plane [data-series="${entry.dataset.series}"]`);
    const button = made("button", "switch");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.append(...entry.childNodes);
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") === "false";
      button.setAttribute("aria-pressed", String(shown));
      drawn.forEach((one) => one.classList.toggle("off", !shown));
    });
    entry.append(button);
  }

  // What is folded is printed all the same.
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((one) => { one.open = true; });
  });
  window.addEventListener("afterprint", () => folded.forEach((one) => { one.open = false; }));

  // Outputs.

  const SHOWN = 1500;
  const sets = data.outputs;
  if (!sets.length) {
    return;
  }
  const labelOf = (method) => data.results.methods[method].label || method;
  const methods = Object.keys(data.results.methods);
  let current = sets[0], position = 0, found = current.inputs.map((_, at) => at);

  const whole = (text) => (Array.isArray(text) ? text[0] : text);

  function options(select, values, names = values) {
    const before = select.value;
    select.replaceChildren(...values.map((value, at) => {
      const option = made("option", "", names[at]);
      option.value = value;
      return option;
    }));
    if (values.includes(before)) {
      select.value = before;
    }
    return values.length > 1;
  }

  const byNumber = (a, b) => (Number(a) - Number(b)) || String(a).localeCompare(String(b));
  const different = (values) => [...new Set(values.map(String))].sort(byNumber);

  function open(name) {
    current = sets.find((one) => one.name === name);
    const temperatures = different(current.files.map((file) => file.temperature));
    part("temperature-label").hidden = !options(part("temperature"), temperatures);
    if (!part("temperature").dataset.touched && temperatures.includes("1.0")) {
      part("temperature").value = "1.0";
    }
    const seeds = different(current.files.map((file) => file.seed).filter((seed) => seed !== null));
    part("seed-label").hidden = !options(part("seed"), seeds);
    search();
  }

  // The file of a method that is asked for; where a method has one temperature or seed only, that one.
  function fileOf(method) {
    const all = current.files.filter((file) => file.method === method);
    const pick = (files, name, wanted) => {
      const same = files.filter((file) => String(file[name]) === wanted);
      return same.length || new Set(files.map((file) => file[name])).size > 1 ? same : files;
    };
    return pick(pick(all, "temperature", part("temperature").value), "seed", part("seed").value)[0];
  }

  function search() {
    const wanted = part("search").value.toLocaleLowerCase();
    const files = methods.map(fileOf).filter(Boolean);
    const has = (text) => whole(text).toLocaleLowerCase().includes(wanted);
    const before = found[position];
    found = [];
    current.inputs.forEach((input, at) => {
      const texts = () => files.some((file) => (file.rows[at] || []).some(has));
      if (!wanted || has(input.prompt) || (input.reference && has(input.reference)) || texts()) {
        found.push(at);
      }
    });
    position = Math.max(0, found.indexOf(before));
    show();
  }

  function filled(box, text) {
    const all = whole(text), cut = Array.isArray(text);
    box.replaceChildren();
    box.append(...marked(all.length > SHOWN ? all.slice(0, SHOWN) : all));
    for (const old of box.parentElement.querySelectorAll(":scope > .more")) {
      old.remove();
    }
    if (all.length > SHOWN) {
      const length = (cut ? text[1] : all.length).toLocaleString("en");
      const button = made("button", "more", `Show all ${length} characters`);
      button.type = "button";
      button.addEventListener("click", () => {
        box.replaceChildren(...marked(all));
        if (cut) {
          box.append(made("span", "quiet", ` … (${(text[1] - all.length).toLocaleString("en")} more in its file)`));
        }
        button.remove();
      });
      box.after(button);
    }
  }

  // The text in pieces, those that were searched for marked.
  function marked(text) {
    const wanted = part("search").value.toLocaleLowerCase();
    const lower = text.toLocaleLowerCase();
    if (!wanted || lower.length !== text.length) {
      return text ? [document.createTextNode(text)] : [];
    }
    const pieces = [];
    let from = 0;
    for (let at = lower.indexOf(wanted); at >= 0; at = lower.indexOf(wanted, from)) {
      pieces.push(document.createTextNode(text.slice(from, at)), made("mark", "", text.slice(at, at + wanted.length)));
      from = at + wanted.length;
    }
    pieces.push(document.createTextNode(text.slice(from)));
    return pieces.filter((piece) => piece.textContent);
  }

  function column(method, at) {
    const file = fileOf(method);
    const box = made("section", "column");
    const heading = made("h4");
    const label = made("bdi", "", labelOf(method));
    heading.append(label);
    box.append(heading);
    const outputs = file && file.rows[at];
    if (!outputs) {
      heading.append(made("span", "quiet", file ? "no outputs for this input" : "no outputs at this temperature and seed"));
      return box;
    }
    const texts = outputs.map((text) => (Array.isArray(text) ? text.join("\u0000") : text));
    const distinct = new Set(texts).size;
    const how = file.temperature === "given" ? "" : `T ${file.temperature}, `;
    const count = `${texts.length} ${texts.length === 1 ? "output" : "outputs"}`;
    heading.append(made("span", "quiet", `${how}${count}${texts.length > 1 ? `, ${distinct} distinct` : ""}`));
    const list = made("ol");
    outputs.forEach((text, number) => {
      const item = made("li");
      const first = texts.indexOf(texts[number]);
      const again = first < number;
      item.append(made("span", "which", again ? `${number + 1}, the same as ${first + 1}` : String(number + 1)));
      if (again) {
        item.className = "again";
      }
      const words = textBox("");
      item.append(words);
      filled(words, text);
      list.append(item);
    });
    box.append(list);
    return box;
  }

  function show(said = false) {
    const none = found.length === 0;
    part("input").hidden = none;
    part("none").hidden = !none;
    part("number").max = Math.max(1, found.length);
    part("number").value = none ? "" : position + 1;
    part("number").disabled = none;
    const matching = part("search").value ? " that match" : "";
    part("of").textContent = `of ${found.length.toLocaleString("en")}${matching}`;
    part("previous").disabled = none || position === 0;
    part("next").disabled = none || position === found.length - 1;
    if (none) {
      part("columns").replaceChildren();
      announce("No input matches.");
      return;
    }
    const at = found[position], input = current.inputs[at];
    part("input-title").textContent = `Input ${(at + 1).toLocaleString("en")} of ${current.total.toLocaleString("en")}`;
    filled(part("prompt"), input.prompt);
    part("reference-box").hidden = input.reference === undefined;
    filled(part("reference"), input.reference ?? "");
    part("columns").replaceChildren(...methods.filter((name) => current.files.some((file) => file.method === name))
      .map((name) => column(name, at)));
    if (said) {
      announce(`${part("input-title").textContent}, ${position + 1} of ${found.length}`);
    }
  }

  function move(to) {
    position = Math.min(Math.max(to, 0), found.length - 1);
    part("columns").scrollLeft = 0;
    show(true);
  }

  let waiting = 0;
  part("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { search(); announce(`${found.length} of ${current.inputs.length} inputs`); }, 150);
  });
  part("choice").addEventListener("submit", (event) => event.preventDefault());
  part("set").addEventListener("change", () => { found = []; position = 0; open(part("set").value); });
  part("temperature").addEventListener("change", () => { part("temperature").dataset.touched = "yes"; search(); });
  part("seed").addEventListener("change", search);
  part("previous").addEventListener("click", () => move(position - 1));
  part("next").addEventListener("click", () => move(position + 1));
  part("number").addEventListener("change", () => move((Number.parseInt(part("number").value, 10) || 1) - 1));

  const setNames = sets.map((one) => one.name);
  part("set").parentElement.hidden = !options(part("set"), setNames, sets.map((one) => one.label));
  part("browser").hidden = false;
  open(setNames[0]);
})();
