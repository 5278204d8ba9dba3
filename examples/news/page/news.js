// The page: what comes over either way is put on its list. All text from others enters by textContent, never as HTML.

import { WebSocketBridge } from "/shmchan.mjs";

const MOST = 20;
const WORDS = { connecting: "connecting", open: "connected", waiting: "away, trying again", closed: "refused" };
const $ = (id) => document.getElementById(id);

function show(list, { headline }) {
  const item = document.createElement("li");
  item.textContent = headline;
  $(list).prepend(item);
  while ($(list).childElementCount > MOST) $(list).lastElementChild.remove();
}

function showState(id, state) {
  $(id).dataset.state = state;
  $(id).textContent = WORDS[state];
}

const source = new EventSource("/events");
source.addEventListener("headline", (event) => show("events", JSON.parse(event.data)));
source.onopen = () => showState("events-state", "open");
source.onerror = () => showState("events-state", source.readyState === EventSource.CLOSED ? "closed" : "waiting");

const bridge = new WebSocketBridge({
  longestDelay: 5000,
  queue: 5,
  final: [1000, 4003],
  onstate(state) {
    showState("socket-state", state);
    if (state === "open") $("hint").textContent = "";
  },
});
bridge.connect("/ws");
bridge.listen((action) => show("socket", action));

$("publish").addEventListener("submit", (event) => {
  event.preventDefault();
  const headline = $("headline").value.trim();
  if (!headline) return;
  if (!bridge.send({ headline })) {
    $("hint").textContent = "The server is away, and five headlines wait for it already.";
    return;
  }
  const waiting = bridge.socket.queued;
  $("hint").textContent = waiting ? `The server is away; ${waiting === 1 ? "this waits" : `${waiting} headlines wait`} for it.` : "";
  $("headline").value = "";
});
