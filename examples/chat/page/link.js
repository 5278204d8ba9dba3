// A WebSocket that comes back. It owns the socket and the back-off and knows nothing of what is said over it.
//
// Events: "state" (link.state is "connecting", "connected", "reconnecting" or "closed"), "open" (a new connection, also after a
// break) and "frame" (event.detail: the decoded JSON). A break is followed by a try after 0.25 s, and twice as long after each
// failure up to 8 s, each between half and all of it, so that a restarted server is not met by everybody at once.

const FIRST_DELAY = 250;
const LONGEST_DELAY = 8000;
const HANDSHAKE_TIMEOUT = 10000;

export class Link extends EventTarget {
  constructor(url) {
    super();
    this.url = url;
    this.state = "connecting";
    this.failures = 0;
    this.wake = () => this.retryAt !== undefined && this.connect();
    // A page that is left may be kept, frozen, for the way back, with its socket open: the others would see somebody who is gone.
    this.rest = () => {
      this.lost(this.socket);
      clearTimeout(this.timer);
    };
    window.addEventListener("online", this.wake);
    window.addEventListener("pageshow", this.wake);
    window.addEventListener("pagehide", this.rest);
    this.connect();
  }

  connect() {
    clearTimeout(this.timer);
    this.retryAt = undefined;
    const socket = new WebSocket(this.url);
    this.socket = socket;
    this.timer = setTimeout(() => this.lost(socket), HANDSHAKE_TIMEOUT);
    socket.onopen = () => {
      clearTimeout(this.timer);
      this.failures = 0;
      this.enter("connected");
      this.dispatchEvent(new Event("open"));
    };
    socket.onmessage = (event) => {
      this.dispatchEvent(new CustomEvent("frame", { detail: JSON.parse(event.data) }));
    };
    socket.onclose = () => this.lost(socket);
  }

  // Called once for each socket: by its close event, or by the timeout, which then takes the event away.
  lost(socket) {
    clearTimeout(this.timer);
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    if (this.state === "closed") return;
    const longest = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** this.failures);
    const delay = longest * (0.5 + Math.random() / 2);
    this.failures = Math.min(this.failures + 1, 10);
    this.retryAt = Date.now() + delay;
    this.timer = setTimeout(() => this.connect(), delay);
    this.enter("reconnecting");
  }

  // True if the frame went to the socket; the caller keeps it otherwise.
  send(frame) {
    if (this.state !== "connected") return false;
    this.socket.send(JSON.stringify(frame));
    return true;
  }

  close() {
    this.enter("closed");
    window.removeEventListener("online", this.wake);
    window.removeEventListener("pageshow", this.wake);
    window.removeEventListener("pagehide", this.rest);
    this.lost(this.socket);
  }

  enter(state) {
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }
}
