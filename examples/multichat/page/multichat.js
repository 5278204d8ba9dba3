// The page: doors on one side, the room that is looked at on the other. All text from others enters by textContent.
//
// A line of our own is shown at once, faint, until it comes back. What was not confirmed when the connection broke is sent again
// once the room is joined again, and everybody drops a line whose ref they have: so a restart loses no line and doubles none.

import { Streams } from "./streams.js";

const MAX_SHOWN = 500;
const NEAR_THE_END = 80;
const NOTE_TIME = 7000;
const STATES = { connecting: "Connecting", connected: "Connected", reconnecting: "Reconnecting", over: "Logged out" };
const JOINED = "multichat.joined"; // the rooms of this tab, so that they are there again after a reload

const $ = (id) => document.getElementById(id);
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

const rooms = new Map(); // slug -> Room
const pending = new Map(); // ref -> {room, text, item}, in the order typed
const seen = new Set(); // refs on the page
let shown = null; // the Room that is looked at
let unasked = new Set(JSON.parse(sessionStorage.getItem(JOINED) ?? "[]")); // to join again, without being shown
const streams = new Streams("/streams");

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function hue(name) {
  let hash = 7;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) >>> 0;
  return (hash * 137) % 360;
}

// --- a room ---------------------------------------------------------------------------------------------------------

class Room {
  constructor({ slug, title, about, staff_only }) {
    Object.assign(this, { slug, title, about });
    this.joined = false;
    this.people = new Map(); // id -> name
    this.gone = new Set(); // ids that went while we came
    this.unread = 0;
    this.log = element("ol");
    this.log.setAttribute("role", "log");
    this.log.setAttribute("aria-label", title);
    this.log.tabIndex = 0;
    this.door = element("button", "door");
    this.door.type = "button";
    this.door.dataset.room = slug;
    this.badge = element("span", "badge");
    this.door.append(element("span", "name", title), this.badge, element("small", "", about));
    this.door.classList.toggle("staff", staff_only);
    this.door.addEventListener("click", () => (this.joined ? show(this) : this.join()));
  }

  join() {
    this.gone.clear();
    if (!streams.send("rooms", { command: "join", room: this.slug })) note("There is no connection at the moment.");
  }

  names() {
    return [...new Set(this.people.values())].sort((a, b) => a.localeCompare(b));
  }

  has(name) {
    return [...this.people.values()].includes(name);
  }

  append(item, follow) {
    const atEnd = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < NEAR_THE_END;
    const previous = this.log.lastElementChild;
    if (item.dataset.by && previous?.dataset.by === item.dataset.by) item.classList.add("again");
    this.log.append(item);
    while (this.log.childElementCount > MAX_SHOWN) this.log.firstElementChild.remove();
    if (atEnd || follow) this.log.scrollTop = this.log.scrollHeight;
  }

  notice(text) {
    this.append(element("li", "notice", text));
  }

  line({ name, text, at }) {
    const item = element("li", "line");
    item.dataset.by = name;
    const by = element("p", "by");
    const who = element("bdi", "who", name);
    who.style.setProperty("--hue", hue(name));
    by.append(who, element("time", "", clock.format(at)));
    item.append(by, element("p", "words", text));
    return item;
  }

  draw() {
    this.door.classList.toggle("joined", this.joined);
    this.door.setAttribute("aria-current", this === shown);
    this.badge.textContent = this.unread || "";
    if (this !== shown) return;
    const names = this.names();
    $("people").textContent = `${names.length} here: ${names.join(", ")}`;
  }
}

function show(room) {
  const before = shown;
  shown = room;
  $("hall").hidden = Boolean(room);
  $("room").hidden = !room;
  before?.draw();
  document.title = room ? `${room.title} · Multichat` : "Multichat";
  if (!room) return;
  room.unread = 0;
  $("title").textContent = room.title;
  $("lines").replaceChildren(room.log);
  room.log.scrollTop = room.log.scrollHeight;
  room.draw();
  room.door.scrollIntoView({ block: "nearest", inline: "nearest" });
  if (matchMedia("(hover: hover)").matches) $("text").focus();
}

function remember() {
  sessionStorage.setItem(JOINED, JSON.stringify([...rooms.values()].filter((room) => room.joined).map((room) => room.slug)));
}

// --- notes: errors that are about no line ---------------------------------------------------------------------------

function note(text) {
  const item = element("p", "note");
  const close = element("button", "", "×");
  close.type = "button";
  close.setAttribute("aria-label", "Dismiss");
  close.addEventListener("click", () => item.remove());
  item.append(element("span", "", text), close);
  $("notes").append(item);
  setTimeout(() => item.remove(), NOTE_TIME);
}

// --- from the server ------------------------------------------------------------------------------------------------

const heard = {
  welcome({ you, rooms: all }) {
    if (!you) {
      location.assign("/login");
      return;
    }
    $("me").classList.toggle("staff", you.is_staff);
    for (const each of all) {
      if (rooms.has(each.slug)) continue;
      const room = new Room(each);
      rooms.set(room.slug, room);
      const item = element("li");
      item.append(room.door);
      $("doors").append(item);
    }
    for (const room of rooms.values()) if (room.joined) unasked.add(room.slug);
    for (const slug of unasked) rooms.get(slug)?.join();
  },

  joined({ room: slug, people }) {
    const room = rooms.get(slug);
    const again = room.joined;
    room.joined = true;
    room.people = new Map(people.filter(({ id }) => !room.gone.has(id)).map(({ id, name }) => [id, name]));
    room.notice(again ? "You are back." : "You came in.");
    for (const [ref, { room: of, text }] of pending) if (of === room) say(room, ref, text);
    if (!unasked.delete(slug) || !shown) show(room);
    room.draw();
    remember();
  },

  left({ room: slug }) {
    const room = rooms.get(slug);
    room.joined = false;
    room.people.clear();
    room.log.replaceChildren();
    if (room === shown) show([...rooms.values()].find((other) => other.joined) ?? null);
    room.draw();
    remember();
  },

  came({ room: slug, id, name }) {
    const room = rooms.get(slug);
    const known = room.has(name);
    room.people.set(id, name);
    if (room.joined && !known) room.notice(`${name} came in.`);
    room.draw();
  },

  went({ room: slug, id, name }) {
    const room = rooms.get(slug);
    room.gone.add(id);
    if (room.people.delete(id) && !room.has(name)) room.notice(`${name} left.`);
    room.draw();
  },

  said({ room: slug, name, text, ref, at }) {
    const room = rooms.get(slug);
    const own = pending.get(ref);
    if (own) {
      pending.delete(ref);
      own.item.classList.remove("pending");
    } else if (!seen.has(ref)) {
      room.append(room.line({ name, text, at }));
      if (room !== shown) room.unread += 1;
    }
    seen.add(ref);
    room.draw();
  },

  error({ code, text, room, ref }) {
    if (code === "not_logged_in") location.assign("/login");
    const line = pending.get(ref);
    if (line) {
      pending.delete(ref);
      line.item.classList.replace("pending", "refused");
      line.item.append(element("p", "reason", text));
      return;
    }
    unasked.delete(room);
    note(text);
  },
};

const hear = ({ detail }) => heard[detail.event]?.(detail);
streams.addEventListener("rooms", hear);
streams.addEventListener("talk", hear);
streams.addEventListener("state", () => {
  document.body.dataset.state = streams.state;
  $("state").textContent = STATES[streams.state];
  if (streams.state === "over") location.assign("/login");
});

// --- from the person ------------------------------------------------------------------------------------------------

function say(room, ref, text) {
  return streams.send("talk", { command: "send", room: room.slug, text, ref });
}

$("write").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text || !shown) return;
  const ref = crypto.randomUUID?.() ?? `r${Date.now()}-${Math.random().toString(36).slice(2)}`; // http: has no randomUUID
  const item = shown.line({ name: $("me").textContent, text, at: Date.now() });
  item.classList.add("pending");
  pending.set(ref, { room: shown, text, item });
  shown.append(item, true);
  say(shown, ref, text);
  $("text").value = "";
  grow();
});

function grow() {
  $("text").style.height = "auto";
  $("text").style.height = `${$("text").scrollHeight + 2}px`;
}

$("text").addEventListener("input", grow);
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("write").requestSubmit();
  }
});
$("leave").addEventListener("click", () => {
  if (!streams.send("rooms", { command: "leave", room: shown.slug })) note("There is no connection at the moment.");
});
$("logout").form.addEventListener("submit", () => sessionStorage.removeItem(JOINED));
