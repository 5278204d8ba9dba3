// The page: draws cards, and asks the server for changes. It never changes a card itself; what was asked for is shown when it comes
// back, which is when the database has it.

import { Cards } from "./cards.js";

const COLUMNS = { todo: "To do", doing: "Doing", done: "Done" };
const COLOURS = ["sand", "rose", "mint", "sky"];
const PEOPLE = { ada: "Ada (admin)", grace: "Grace", alan: "Alan" };
const STATES = { idle: "", connecting: "Connecting …", open: "Live", waiting: "Reconnecting …", closed: "Not connected" };

const find = (id) => document.getElementById(id);
const who = location.hash.slice(1) in PEOPLE ? location.hash.slice(1) : "ada";
const cards = new Cards();
const waiting = new Map(); // ref of a change we asked for → the card's key
let edited = null; // the card in the editor; {} is a new one
let dragged = null;
let admin = false;
let refs = 0;

// --- the server

const bridge = new shmchan.WebSocketBridge({
  queue: 0, // a change is asked for by somebody who sees the board, so not later
  onstate(state) {
    document.body.dataset.state = state;
    find("state").textContent = STATES[state];
    if (state === "connecting") cards.begin();
  },
});

bridge.demultiplex("cards", (payload) => {
  if (payload.action === "refused") {
    refused(payload);
  } else if (payload.action === "all") {
    admin = payload.admin;
    waiting.clear();
    draw(cards.replace(payload.cards));
  } else {
    draw(cards.apply(payload), true);
  }
});

function ask(action, pk, data) {
  const ref = `r${(refs += 1)}`;
  if (!bridge.stream("cards").send({ action, pk, data, ref })) {
    toast("Not connected: nothing was changed.");
    return;
  }
  waiting.set(ref, pk);
  if (pk !== undefined) document.querySelector(`[data-pk="${pk}"]`)?.classList.add("pending");
}

function refused({ ref, reason, errors }) {
  const pk = waiting.get(ref);
  waiting.delete(ref);
  const details = Object.entries(errors).map(([field, why]) => `${field} ${why}`);
  toast(`Not done: ${[reason, ...details].join("; ")}.`);
  if (pk !== undefined) draw([pk]);
}

function toast(text) {
  const line = document.createElement("li");
  line.textContent = text;
  find("toasts").append(line);
  setTimeout(() => line.remove(), 6000);
}

// --- the board

for (const [name, label] of Object.entries(COLUMNS)) {
  const column = document.createElement("section");
  column.className = "column";
  column.dataset.column = name;
  column.innerHTML = '<header><h2></h2><span class="number"></span><button class="add" type="button">+</button></header><ol></ol>';
  column.querySelector("h2").textContent = label;
  column.querySelector(".add").setAttribute("aria-label", `New card in ${label}`);
  column.querySelector(".add").addEventListener("click", () => edit({ column: name }));
  column.addEventListener("dragover", (event) => {
    if (dragged === null) return;
    event.preventDefault();
    column.classList.add("over");
  });
  column.addEventListener("dragleave", () => column.classList.remove("over"));
  column.addEventListener("drop", (event) => {
    event.preventDefault();
    column.classList.remove("over");
    const below = [...column.querySelectorAll(".card")].find((card) => {
      const { top, height } = card.getBoundingClientRect();
      return Number(card.dataset.pk) !== dragged && event.clientY < top + height / 2;
    });
    move(dragged, name, below ? Number(below.dataset.pk) : null);
  });
  find("columns").append(column);
  find("column").append(new Option(label, name));
}

function move(pk, column, beforePk = null) {
  if (pk === null || beforePk === pk) return;
  ask("update", pk, { column, place: cards.placeBefore(column, beforePk, pk) });
}

// Draw these cards anew. Elements stay who they are, so that focus and animations do, too.
function draw(keys, fresh = false) {
  const drawn = new Set(keys);
  for (const pk of drawn) {
    if (!cards.byKey.has(pk)) document.querySelector(`[data-pk="${pk}"]`)?.remove();
    if (edited?.pk === pk && !cards.byKey.has(pk)) {
      find("editor").close();
      toast("The card you had open is gone.");
    }
  }
  for (const column of document.querySelectorAll(".column")) {
    const list = column.querySelector("ol");
    const wanted = cards.inColumn(column.dataset.column);
    wanted.forEach((card, index) => {
      let element = document.querySelector(`[data-pk="${card.pk}"]`);
      const isNew = element === null;
      if (isNew) element = newElement(card.pk);
      if (isNew || drawn.has(card.pk)) fill(element, card, fresh);
      if (list.children[index] !== element) list.insertBefore(element, list.children[index] ?? null);
    });
    column.querySelector(".number").textContent = wanted.length || "";
  }
  const count = cards.byKey.size;
  find("count").textContent = `${count} card${count === 1 ? "" : "s"} you may see`;
}

function newElement(pk) {
  const element = find("card-template").content.firstElementChild.cloneNode(true);
  element.dataset.pk = pk;
  element.addEventListener("click", () => edit(cards.byKey.get(pk)));
  element.addEventListener("keydown", (event) => {
    const names = Object.keys(COLUMNS);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Enter") edit(cards.byKey.get(pk));
    const target = step && names[names.indexOf(cards.byKey.get(pk).column) + step];
    if (target) move(pk, target);
  });
  element.addEventListener("dragstart", () => {
    dragged = pk;
    element.classList.add("dragged");
  });
  element.addEventListener("dragend", () => {
    dragged = null;
    element.classList.remove("dragged");
  });
  return element;
}

function fill(element, card, fresh) {
  element.querySelector(".title").textContent = card.title;
  element.querySelector(".note").textContent = card.note;
  element.querySelector(".author").textContent = card.author;
  element.querySelector(".lock").hidden = !card.admin_only;
  element.dataset.colour = card.colour;
  element.classList.remove("pending", "fresh");
  if (fresh) {
    void element.offsetWidth; // begins the animation anew
    element.classList.add("fresh");
  }
}

// --- the editor

for (const colour of COLOURS) {
  const choice = Object.assign(document.createElement("input"), { type: "radio", name: "colour", value: colour });
  choice.setAttribute("aria-label", colour);
  find("colours").append(choice);
}

function edit(card) {
  edited = card;
  find("editor-title").textContent = card.pk ? "Card" : "New card";
  find("title").value = card.title ?? "";
  find("note").value = card.note ?? "";
  find("column").value = card.column;
  find("secret").checked = card.admin_only ?? false;
  find("secret-row").hidden = !admin;
  find("delete").hidden = !card.pk;
  find("meta").textContent = card.pk ? `By ${card.author}, changed ${moment(card.changed).toLocaleString()}` : "";
  document.querySelector(`[name="colour"][value="${card.colour ?? "sand"}"]`).checked = true;
  find("editor").showModal();
}

// Times are UTC where they do not say otherwise.
function moment(text) {
  return new Date(/(Z|[+-]\d\d:\d\d)$/.test(text) ? text : `${text}Z`);
}

// Only what differs is asked for, so that two people may change different things of a card.
find("form").addEventListener("submit", () => {
  const wanted = {
    title: find("title").value,
    note: find("note").value,
    column: find("column").value,
    colour: document.querySelector('[name="colour"]:checked').value,
  };
  if (admin) wanted.admin_only = find("secret").checked;
  if (!edited.pk) {
    ask("create", undefined, { ...wanted, place: cards.placeBefore(wanted.column, null) });
    return;
  }
  const changed = Object.fromEntries(Object.entries(wanted).filter(([name, value]) => value !== edited[name]));
  if (changed.column) changed.place = cards.placeBefore(changed.column, null, edited.pk);
  if (Object.keys(changed).length) ask("update", edited.pk, changed);
});

find("cancel").addEventListener("click", () => find("editor").close());
find("editor").addEventListener("close", () => (edited = null));
find("delete").addEventListener("click", () => {
  ask("delete", edited.pk);
  find("editor").close();
});

// --- who you are

// Where the server knows who it is, as after a login, the page says so: then there is nobody to choose from.
const { socket, me } = document.body.dataset;
for (const [id, name] of socket ? [[who, me]] : Object.entries(PEOPLE)) {
  const link = Object.assign(document.createElement("a"), { href: `#${id}`, textContent: name });
  if (id === who) link.setAttribute("aria-current", "true");
  find("people").append(link);
}
addEventListener("hashchange", () => location.reload());
bridge.connect(socket ?? `board/@${who}`);
