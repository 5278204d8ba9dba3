// Uses of the types, right ones and wrong ones. `make types` has the TypeScript compiler read it; nothing runs it.

import { ReconnectingSocket, WebSocketBridge, type State, type StateDetail } from "../../shmchan/js/shmchan.js";
import whole, { WebSocketBridge as FromModule } from "../../shmchan/js/shmchan.mjs";

interface Tick {
  at: number;
}

const bridge = new WebSocketBridge({
  firstDelay: 100,
  queue: 0,
  final: [1000, 4001],
  onstate: (state: State, detail: StateDetail) => console.log(state, detail.delay?.toFixed()),
});
bridge.connect();
bridge.follow("room", "news");
bridge.ongap = (group, { reason, missed }) => console.log(group, reason === "forgotten", missed?.toFixed());
bridge.connect("/ws/", ["one", "two"], { final: (code) => code >= 4000, maxTries: 3 });
bridge.connect(() => new URL("wss://example.org/ws/"));
bridge.listen((action, stream) => console.log(action.anything, stream?.length));
bridge.demultiplex<Tick>("clock", ({ at }, stream) => console.log(at.toFixed(), stream));
const sent: boolean = bridge.stream<Tick>("clock").send({ at: 1 }) && bridge.send({ any: ["thing"] });
bridge.socket?.addEventListener("open", (event) => console.log(event.detail.again));
bridge.socket?.addEventListener("close", (event) => console.log(event.code, event.reason));
bridge.socket?.addEventListener("state", ({ detail }) => console.log(detail.state === "waiting" && detail.tries));
bridge.close(4000, "bye");
if (bridge.state === "idle") console.log(sent);

const socket = new ReconnectingSocket("/raw", "binary", { silence: 30000 });
socket.binaryType = "arraybuffer";
socket.onmessage = (event) => console.log(event.data, socket.queued, socket.readyState === 1);
socket.send(new Uint8Array(3));
socket.reconnect();

const other: WebSocketBridge = new FromModule();
const another = new whole.WebSocketBridge();
console.log(other.state, another.options.queue);

// @ts-expect-error: there is no such option
new WebSocketBridge({ queues: 1 });
// @ts-expect-error: close codes are numbers
new WebSocketBridge({ final: ["1000"] });
// @ts-expect-error: it is not for writing
bridge.socket = null;
// @ts-expect-error: a tick has no such thing
bridge.stream<Tick>("clock").send({ when: 1 });
// @ts-expect-error: no such state
if (socket.state === "idle") console.log("never");
