// The page: joins a link, a roster and the elements of index.html. All text from others enters by textContent, never as HTML.
//
// A line of our own is shown at once, faint, until it comes back from the server; what was not confirmed when the connection broke
// is sent again, and readers drop a line whose ref they have. So a restart of the server loses no line and doubles none.

import { Link } from "./link.js";
import { REPEAT, Roster } from "./roster.js";

const MAX_LINE = 500;
const MAX_SHOWN = 1000;
const NEAR_THE_END = 80;

const $ = (id) => document.getElementById(id);
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

let me = null; // {name, room, id}
let link = null;
let roster = new Roster();
let unread = 0;
let atEnd = true;
const seen = new Set(); // refs on the page
const pending = new Map(); // ref -> {text, element}, in the order typed

// --- elements ---------------------------------------------------------------------------------------------------------------

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function avatar(name) {
  const words = name.split(/\s+/).filter(Boolean);
  const initials = [...words[0]][0] + (words.length > 1 ? [...words[words.length - 1]][0] : "");
  const made = element("span", "avatar", initials.toUpperCase());
  let hash = 0;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) >>> 0;
  made.style.setProperty("--hue", hash % 360);
  made.setAttribute("aria-hidden", "true");
  return made;
}

function noteScrolling() {
  const lines = $("lines");
  atEnd = lines.scrollHeight - lines.scrollTop - lines.clientHeight < NEAR_THE_END;
  if (atEnd) $("newer").hidden = true;
}

function scrollToEnd() {
  atEnd = true;
  $("lines").scrollTop = $("lines").scrollHeight;
  $("newer").hidden = true;
}

function append(item, follow) {
  const lines = $("lines");
  const stay = !follow && !atEnd;
  const previous = lines.lastElementChild;
  if (previous && item.dataset.author && previous.dataset.author === item.dataset.author) item.classList.add("again");
  lines.append(item);
  while (lines.childElementCount > MAX_SHOWN) lines.firstElementChild.remove();
  if (stay) $("newer").hidden = false;
  else scrollToEnd();
}

function notice(text) {
  append(element("li", "notice", text), false);
}

function lineItem({ name, text, at, own, author }) {
  const item = element("li", own ? "line own" : "line");
  item.dataset.author = author;
  const bubble = element("div", "bubble");
  if (!own) {
    const who = element("bdi", "who", name);
    bubble.append(who);
  }
  const words = element("p", "words", text);
  words.dir = "auto";
  bubble.append(words, stamp(at));
  if (!own) item.append(avatar(name));
  item.append(bubble);
  return item;
}

function stamp(at) {
  const made = element("time", "", clock.format(at));
  made.dateTime = new Date(at).toISOString();
  made.title = calendar.format(at);
  return made;
}

function showPeople() {
  const people = roster.sorted();
  $("people").replaceChildren(
    ...people.map(({ id, name }) => {
      const item = element("li", id === me.id ? "me" : "");
      item.append(avatar(name), element("bdi", "who", name));
      if (id === me.id) item.append(element("span", "you", "you"));
      return item;
    }),
  );
  $("count").textContent = people.length === 1 ? "1 person here" : `${people.length} people here`;
}

function showState() {
  document.body.dataset.state = link.state;
  $("state").textContent = { connecting: "Connecting", connected: "Connected", reconnecting: "Reconnecting" }[link.state] ?? "";
}

function showTitle() {
  document.title = (unread ? `(${unread}) ` : "") + (me ? `#${me.room}` : "Chat");
}

// --- frames from the server -------------------------------------------------------------------------------------------------

const frames = {
  welcome({ id }) {
    me.id = id;
    showPeople();
  },
  joined({ id, name }) {
    if (roster.joined(id, name, Date.now()) && id !== me.id) notice(`${name} came in`);
    if (id !== me.id) link.send({ type: "here", to: id });
    showPeople();
  },
  here({ id, name }) {
    roster.here(id, name, Date.now());
    showPeople();
  },
  left({ id, name }) {
    if (roster.left(id) && id !== me.id) notice(`${name} left`);
    showPeople();
  },
  line({ id, name, text, ref, at }) {
    const mine = pending.get(ref);
    if (mine) {
      pending.delete(ref);
      mine.element.classList.remove("pending");
      mine.element.querySelector("time").replaceWith(stamp(at));
      return;
    }
    if (seen.has(ref)) return;
    seen.add(ref);
    append(lineItem({ name, text, at, own: false, author: id }), false);
    if (document.hidden) unread += 1;
    showTitle();
  },
  noted({ ref, due }) {
    const mine = pending.get(ref);
    pending.delete(ref);
    if (!mine) return;
    mine.element.classList.remove("pending");
    const when = Date.now() + 86400000 < due ? calendar.format(due) : clock.format(due);
    mine.element.querySelector(".bubble").append(element("p", "aside", `The room will be reminded: ${when}`));
    if (atEnd) scrollToEnd();
  },
  reminder({ name, text, ref, at }) {
    if (seen.has(`reminder ${ref}`)) return;
    seen.add(`reminder ${ref}`);
    const item = element("li", "reminder");
    const words = element("p", "words", text);
    words.dir = "auto";
    item.append(element("bdi", "who", `Reminder from ${name}`), words, stamp(at));
    append(item, false);
    if (document.hidden) unread += 1;
    showTitle();
  },
  refused({ ref, reason }) {
    const mine = pending.get(ref);
    pending.delete(ref);
    if (!mine) return;
    mine.element.classList.replace("pending", "refused");
    mine.element.querySelector(".bubble").append(element("p", "reason", reason));
    if (atEnd) scrollToEnd();
  },
};

function onOpen() {
  roster.restart(Date.now());
  showPeople();
  for (const [ref, { text }] of pending) link.send({ type: "line", ref, text });
}

// --- what the person does ---------------------------------------------------------------------------------------------------

function say(text) {
  const ref = crypto.randomUUID?.() ?? [...crypto.getRandomValues(new Uint8Array(16))].map((n) => n.toString(16)).join("");
  const item = lineItem({ name: me.name, text, at: Date.now(), own: true, author: "me" });
  item.classList.add("pending");
  pending.set(ref, { text, element: item });
  seen.add(ref);
  append(item, true);
  link.send({ type: "line", ref, text });
}

function fitComposer() {
  const text = $("text");
  text.style.height = "auto";
  const border = text.offsetHeight - text.clientHeight;
  text.style.height = `${text.scrollHeight + border}px`;
  text.style.overflowY = text.scrollHeight + border > text.offsetHeight ? "auto" : "hidden";
  const room = MAX_LINE - [...text.value.trim()].length;
  $("left").hidden = room > 50;
  $("left").textContent = room >= 0 ? `${room} characters left` : `${-room} characters too many`;
  $("left").classList.toggle("over", room < 0);
  $("send").disabled = room < 0 || room === MAX_LINE;
}

function enter(name, room) {
  me = { name, room, id: null };
  roster = new Roster();
  $("lines").replaceChildren();
  $("room-name").textContent = `#${room}`;
  document.querySelector(".room").hidden = false;
  $("door").hidden = true;
  sessionStorage.setItem("chat", JSON.stringify({ name, room }));
  localStorage.setItem("chat.name", name);
  location.hash = room;
  const url = new URL(`chat/${room}/@${encodeURIComponent(name)}`, location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  link = new Link(url.href);
  link.addEventListener("state", showState);
  link.addEventListener("open", onOpen);
  link.addEventListener("frame", (event) => frames[event.detail.type]?.(event.detail));
  showState();
  showPeople();
  showTitle();
  fitComposer();
  $("text").focus();
}

function leave() {
  link.close();
  me = link = null;
  seen.clear();
  pending.clear();
  sessionStorage.removeItem("chat");
  document.body.dataset.state = "idle";
  document.querySelector(".room").hidden = true;
  $("door").hidden = false;
  showTitle();
  $("name").focus();
}

$("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("name").value.trim();
  if (name) enter(name, $("room").value);
});
$("room").addEventListener("input", () => {
  $("room").value = $("room").value.toLowerCase().replace(/[^a-z0-9-]+/g, "-");
});
$("compose").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text || $("send").disabled) return;
  say(text);
  $("text").value = "";
  fitComposer();
  $("text").focus();
});
$("text").addEventListener("input", fitComposer);
$("text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("compose").requestSubmit();
});
$("leave").addEventListener("click", leave);
$("newer").addEventListener("click", scrollToEnd);
$("lines").addEventListener("scroll", noteScrolling);
new ResizeObserver(() => atEnd && scrollToEnd()).observe($("lines"));
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) unread = 0;
  showTitle();
});
setInterval(() => {
  if (!link || link.state !== "connected") return;
  link.send({ type: "here" });
  roster.forget(Date.now());
  showPeople();
}, REPEAT);

// --- start ------------------------------------------------------------------------------------------------------------------

const last = JSON.parse(sessionStorage.getItem("chat") ?? "null");
const asked = decodeURIComponent(location.hash.slice(1));
$("name").value = last?.name ?? localStorage.getItem("chat.name") ?? "";
$("room").value = /^[a-z0-9-]{1,30}$/.test(asked) ? asked : (last?.room ?? "lobby");
if (last && last.room === $("room").value) enter(last.name, last.room);
