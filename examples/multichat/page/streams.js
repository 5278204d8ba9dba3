// A WebSocket that comes back, with streams on it: {"stream": name, "payload": object} both ways.
//
// Events: "state" whenever .state changes (connecting, connected, reconnecting, over), and one named after each stream, with the
// payload as its detail. It tries again after 0.25 s, and twice as long after each failure up to 8 s, each between half and all of
// it, so that a restarted server is not met by everybody at once. After a close with OVER it does not: we are logged out.

const FIRST_DELAY = 250;
const LONGEST_DELAY = 8000;
const HANDSHAKE_TIMEOUT = 10000;
const OVER = 4001;

export class Streams extends EventTarget {
  constructor(path) {
    super();
    this.url = new URL(path, location.href.replace(/^http/, "ws"));
    this.state = "connecting";
    this.failures = 0;
    const wake = () => this.retry !== undefined && this.connect();
    window.addEventListener("online", wake);
    window.addEventListener("pageshow", wake);
    // A page that is left may be kept, frozen, with its socket open: the others would see somebody who is gone.
    window.addEventListener("pagehide", () => {
      this.lost(this.socket);
      clearTimeout(this.timer);
    });
    this.connect();
  }

  connect() {
    clearTimeout(this.timer);
    this.retry = undefined;
    const socket = new WebSocket(this.url);
    this.socket = socket;
    this.timer = setTimeout(() => this.lost(socket), HANDSHAKE_TIMEOUT);
    socket.onopen = () => {
      clearTimeout(this.timer);
      this.failures = 0;
      this.enter("connected");
    };
    socket.onmessage = ({ data }) => {
      const { stream, payload } = JSON.parse(data);
      this.dispatchEvent(new CustomEvent(stream, { detail: payload }));
    };
    socket.onclose = ({ code }) => this.lost(socket, code);
  }

  // Called once for each socket: by its close event, or by the timeout, which then takes the event away.
  lost(socket, code) {
    clearTimeout(this.timer);
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    if (code === OVER) {
      this.enter("over");
      return;
    }
    const longest = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** this.failures);
    this.failures = Math.min(this.failures + 1, 10);
    this.retry = longest * (0.5 + Math.random() / 2);
    this.timer = setTimeout(() => this.connect(), this.retry);
    this.enter("reconnecting");
  }

  // True if it went to the socket; the caller keeps it otherwise.
  send(stream, payload) {
    if (this.state !== "connected") return false;
    this.socket.send(JSON.stringify({ stream, payload }));
    return true;
  }

  enter(state) {
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }
}
