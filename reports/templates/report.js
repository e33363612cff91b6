"use strict";
// Filter and sort of tables. Everything can be read without it.
(() => {
  const all = (root, what) => [...root.querySelectorAll(what)];
  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const text = (row, column) =>
    (row.cells[column].dataset.value ?? row.cells[column].textContent).trim();

  const compared = (a, b) => {
    const [x, y] = [Number.parseFloat(a.replaceAll(",", "")), Number.parseFloat(b.replaceAll(",", ""))];
    if (!Number.isNaN(x) && !Number.isNaN(y) && x !== y) return x - y;
    return a.localeCompare(b, "en", { numeric: true });
  };

  const sort = (table, head) => {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map(row => [text(row, head.cellIndex), row]);
    rows.sort(([a], [b]) => (down ? compared(b, a) : compared(a, b)));
    body.append(...rows.map(([, row]) => row));
  };

  const sortable = table => {
    for (const head of table.tHead.rows[0].cells) {
      const button = make("button", { type: "button", className: "sort" }, ...head.childNodes);
      button.addEventListener("click", () => sort(table, head));
      head.append(button);
      head.setAttribute("aria-sort", "none");
    }
  };

  const chooser = (table, column) => {
    const head = table.tHead.rows[0].cells[column].textContent.trim();
    const found = [...new Set([...table.tBodies[0].rows].map(row => text(row, column)))].sort();
    const options = found.map(value => make("option", { value }, value));
    const select = make("select", {}, make("option", { value: "" }, "all"), ...options);
    return [select, make("label", {}, `${head} `, select)];
  };

  const filterable = table => {
    const rows = [...table.tBodies[0].rows];
    const noun = table.dataset.noun;
    const search = make("input", { type: "search", size: 16, autocomplete: "off" });
    const columns = table.dataset.choose.split(" ").map(Number);
    const choosers = columns.map(column => chooser(table, column));
    const count = make("span", { className: "count" });
    count.setAttribute("role", "status");
    const apply = () => {
      const wanted = search.value.trim().toLowerCase();
      let shown = 0;
      for (const row of rows) {
        const chosen = choosers.every(
          ([select], n) => !select.value || text(row, columns[n]) === select.value);
        row.hidden = !(chosen && row.textContent.toLowerCase().includes(wanted));
        shown += !row.hidden;
      }
      count.textContent = `${shown} of ${rows.length} ${noun}`;
    };
    const labels = choosers.map(([, label]) => label);
    const tools = make("div", { className: "tools" },
      make("label", {}, `Find ${noun} `, search), ...labels, count);
    tools.setAttribute("role", "group");
    const region = table.closest(".scroll");
    tools.setAttribute("aria-label", `Filter: ${region?.getAttribute("aria-label") ?? noun}`);
    tools.addEventListener("input", apply);
    apply();
    (region ?? table).before(tools);
  };

  const equip = table => {
    if (table.classList.contains("equipped")) return;
    table.classList.add("equipped");
    if (table.tBodies[0].rows.length < 2) return;
    filterable(table);
    sortable(table);
  };

  all(document, "table.verdicts").forEach(equip);
  // tables in closed details are equipped when they are opened: there may be hundreds
  for (const table of all(document, "table.cells")) {
    const details = table.closest("details");
    details.addEventListener("toggle", () => details.open && equip(table));
  }
})();
