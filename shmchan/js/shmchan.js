// shmchan.js: WebSockets that come back, and the streams of a WebsocketDemultiplexer.
//
//   const bridge = new shmchan.WebSocketBridge();
//   bridge.connect("/ws/");
//   bridge.listen((action, stream) => console.log(action, stream));
//   bridge.demultiplex("clock", (action, stream) => show(action));
//   bridge.stream("clock").send({ wanted: "ticks" });
//
// One file for a <script>, for `import "/shmchan.js"` (both make the global `shmchan`) and for require(); shmchan.mjs beside it has
// the same names as exports. ReconnectingSocket owns the connection and the back-off and knows nothing of what is said over it;
// WebSocketBridge owns the JSON, Histories what is known of groups that keep their messages. The types are in shmchan.d.ts, the manual is docs/browser.md.

(() => {
  "use strict";

  const DEFAULTS = {
    firstDelay: 500, // milliseconds; a try comes after a random part of it, which doubles with each failure up to
    longestDelay: 30000,
    settleTime: 5000, // a connection that lasted so long makes the failures before it forgotten
    handshakeTimeout: 10000,
    silence: 0, // replace a connection over which nothing came for so long; 0: never
    maxTries: Infinity, // failures in a row, then it is closed
    queue: 100, // messages that wait while there is no connection; 0: they are refused
    final: [1000], // close codes after which it does not come back, or a function (code, reason) => boolean
  };
  const BUSY = 1013; // "try again later": the next try is as late as after so many failures
  const BUSY_FAILURES = 3;

  // A WebSocket that is made again whenever it is lost.
  //
  // state is "connecting", "open", "waiting" (for the next try) or "closed" (for good). Events: "state", "open", "message", "close"
  // (of each connection that ends, or does not come about) and "error"; each also as a property (onopen, …).
  class ReconnectingSocket extends EventTarget {
    constructor(url, protocols, options) {
      super();
      this._url = url;
      this._protocols = protocols ?? [];
      this._options = { ...DEFAULTS, ...options };
      this._socket = null;
      this._queue = [];
      this._failures = 0;
      this._opened = 0; // how often
      this._openedAt = 0;
      this._heardAt = 0;
      this._timer = undefined;
      this._silenceTimer = undefined;
      this._suspect = false;
      this._binaryType = "blob";
      this.state = "connecting";
      this._watch();
      this._open();
    }

    get url() {
      return this._socket?.url ?? resolve(this._url);
    }

    get protocol() {
      return this._socket?.protocol ?? "";
    }

    get readyState() {
      return this.state === "open" ? 1 : this.state === "closed" ? 3 : 0;
    }

    get bufferedAmount() {
      return this._socket?.bufferedAmount ?? 0;
    }

    // How many messages wait for a connection.
    get queued() {
      return this._queue.length;
    }

    get binaryType() {
      return this._binaryType;
    }

    set binaryType(type) {
      this._binaryType = type;
      if (this._socket) this._socket.binaryType = type;
    }

    // True if it was sent or waits for a connection, false if it is refused and the caller has to keep it.
    send(data) {
      if (this.state === "open" && this._socket.readyState === 1) {
        this._socket.send(data);
        return true;
      }
      if (this.state === "closed" || this._queue.length >= this._options.queue) return false;
      this._queue.push(data);
      return true;
    }

    // Close for good. What waits is dropped.
    close(code = 1000, reason = "") {
      if (this.state === "closed") return;
      const socket = this._socket;
      socket?.close(code, reason); // throws for a code that cannot be sent
      if (socket) {
        socket.onopen = socket.onmessage = socket.onerror = null;
        socket.onclose = (event) => this._tell(closeEvent(event.code, event.reason, event.wasClean));
      }
      this._end(code, reason);
    }

    // Have a new connection now, also after it was closed.
    reconnect() {
      this._failures = 0;
      if (this.state === "closed") this._watch();
      if (this._socket) this._drop(this._socket, 1006, "replaced", false);
      if (!this._socket) this._open(); // unless somebody who heard of that has done so
    }

    _open() {
      clearTimeout(this._timer);
      let socket;
      try {
        socket = new WebSocket(resolve(this._url), this._protocols);
      } catch (error) {
        this._end(1006, "");
        throw error; // a wrong URL or subprotocol: trying again would not help
      }
      this._socket = socket;
      this._suspect = false;
      socket.binaryType = this._binaryType;
      socket.onopen = () => this._onopen(socket);
      socket.onmessage = (event) => {
        this._heardAt = Date.now();
        this._tell(new MessageEvent("message", { data: event.data, origin: event.origin }));
      };
      socket.onerror = () => this._tell(new Event("error"));
      socket.onclose = (event) => this._lost(socket, event.code, event.reason, event.wasClean);
      this._timer = setTimeout(() => this._lost(socket, 1006, "no handshake", false), this._options.handshakeTimeout);
      this._enter("connecting", { tries: this._failures });
    }

    _onopen(socket) {
      clearTimeout(this._timer);
      this._openedAt = this._heardAt = Date.now();
      const again = this._opened > 0;
      this._opened += 1;
      this._enter("open", { again });
      this._tell(new CustomEvent("open", { detail: { again } })); // whoever hears it may speak before what has waited
      this._watchSilence(socket);
      while (this._queue.length && this._socket === socket && socket.readyState === 1) socket.send(this._queue.shift());
    }

    _watchSilence(socket) {
      clearTimeout(this._silenceTimer);
      if (!this._options.silence || this._socket !== socket) return;
      const left = this._heardAt + this._options.silence - Date.now();
      if (left <= 0) this._lost(socket, 1006, "silence", false);
      else this._silenceTimer = setTimeout(() => this._watchSilence(socket), left);
    }

    // Called once for each connection: by its close event, or by whoever gave it up, which then takes the event away.
    _lost(socket, code, reason, clean) {
      if (this._socket !== socket) return;
      const wasOpen = this.state === "open";
      if (wasOpen && Date.now() - this._openedAt >= this._options.settleTime) this._failures = 0;
      this._drop(socket, code, reason, clean);
      if (this.state === "closed" || this._socket) return; // somebody who heard of it has decided
      const final = this._options.final;
      const stays = typeof final === "function" ? final(code, reason) : final.includes(code);
      if (stays || this._failures >= this._options.maxTries) this._end(code, reason);
      else this._wait(code, reason);
    }

    _drop(socket, code, reason, clean) {
      clearTimeout(this._timer);
      clearTimeout(this._silenceTimer);
      socket.onopen = socket.onmessage = socket.onerror = socket.onclose = null;
      this._socket = null;
      this.state = "waiting"; // told by who knows what for
      socket.close();
      this._tell(closeEvent(code, reason, clean));
    }

    // Full jitter: anything from nothing to the whole delay, so that a restarted server is not met by everybody at once.
    _wait(code, reason) {
      if (code === BUSY) this._failures = Math.max(this._failures, BUSY_FAILURES);
      const longest = Math.min(this._options.longestDelay, this._options.firstDelay * 2 ** this._failures);
      const delay = Math.random() * longest;
      this._failures += 1;
      this._timer = setTimeout(() => this._open(), delay);
      this._enter("waiting", { tries: this._failures, delay, code, reason });
    }

    _end(code, reason) {
      clearTimeout(this._timer);
      clearTimeout(this._silenceTimer);
      this._socket = null;
      this._queue.length = 0;
      this._unwatch();
      this._enter("closed", { code, reason });
    }

    // What the page learns of its network and its place in the browser.
    _watch() {
      this._listeners = [
        [globalThis, "online", () => this._online()],
        [globalThis, "offline", () => (this._suspect = true)],
        [globalThis, "pageshow", () => this._hurry()],
        [globalThis, "pagehide", (event) => this._hide(event)],
        [globalThis.document, "visibilitychange", () => document.visibilityState === "visible" && this._hurry()],
      ];
      for (const [target, type, listener] of this._listeners) target?.addEventListener?.(type, listener);
    }

    _unwatch() {
      for (const [target, type, listener] of this._listeners) target?.removeEventListener?.(type, listener);
      this._listeners = [];
    }

    // There is no reason to wait any longer.
    _hurry() {
      if (this.state === "waiting") this._open();
    }

    // The network was gone: a connection from before goes through an address or a router that may be another now.
    _online() {
      if (this._suspect && this._socket) this._drop(this._socket, 1006, "the network was gone", false);
      this._hurry();
    }

    // A page may be kept, frozen, for the way back. The others should not see somebody who is gone.
    _hide(event) {
      if (!event.persisted || !this._socket) return;
      this._drop(this._socket, 1001, "the page is left", true);
      this._enter("waiting", { tries: this._failures, code: 1001, reason: "the page is left" });
    }

    _enter(state, detail) {
      this.state = state;
      this._tell(new CustomEvent("state", { detail: { state, ...detail } }));
    }

    _tell(event) {
      this[`on${event.type}`]?.(event);
      this.dispatchEvent(event);
    }
  }

  // The messages of groups that have a history (docs/groups.md): each once, in order. What is missing is asked for; what comes
  // meanwhile is held back.
  class Histories {
    // ask(question) sends; deliver(text) gets each message; gap(group, detail) is told when some are gone for good.
    constructor(ask, deliver, gap, patience) {
      this._ask = ask;
      this._deliver = deliver;
      this._gap = gap;
      this._patience = patience;
      this._groups = new Map(); // name → { epoch, offset, held, timer }; held: frames, while an answer is awaited
    }

    follow(name) {
      if (!this._groups.has(name)) this._groups.set(name, { epoch: null, offset: 0, held: null, timer: undefined });
      return this._groups.get(name);
    }

    // There is a connection, perhaps another one than before.
    opened() {
      this._question([...this._groups.keys()]);
    }

    closed() {
      for (const group of this._groups.values()) {
        clearTimeout(group.timer);
        group.held = null;
      }
    }

    read(frame) {
      const { group: name, epoch, offset, gap, more, refused } = frame.shmchan;
      if (typeof name !== "string") return;
      const group = this.follow(name);
      if (refused) this._release(name, group, "refused");
      else if (frame.resumed) this._resume(name, group, frame.resumed, { epoch, offset, gap, more });
      else if (group.held) group.held.push(frame);
      else if (group.epoch === null) this._take(group, epoch, offset, frame);
      else if (group.epoch === epoch && offset === group.offset + 1) this._take(group, epoch, offset, frame);
      else if (group.epoch !== epoch || offset > group.offset) {
        this._question([name]);
        group.held?.push(frame);
      } // else it came before
    }

    _take(group, epoch, offset, { text }) {
      group.epoch = epoch;
      group.offset = offset;
      if (text !== undefined) this._deliver(text);
    }

    _question(names) {
      const wanted = {};
      for (const name of names) {
        const group = this._groups.get(name);
        wanted[name] = group.epoch === null ? null : { epoch: group.epoch, offset: group.offset };
        if (group.epoch === null) continue; // it is only asked where it stands; nothing was missed
        group.held ??= [];
        clearTimeout(group.timer);
        group.timer = setTimeout(() => this._release(name, group, "no answer"), this._patience);
      }
      if (names.length) this._ask({ shmchan: { resume: wanted } });
    }

    _resume(name, group, messages, { epoch, offset, gap, more }) {
      if (gap) {
        const first = messages.length ? messages[0][0] : offset + 1;
        const known = group.epoch === epoch && group.offset < first;
        this._gap(name, { reason: "forgotten", missed: known ? first - 1 - group.offset : null });
        group.offset = first - 1;
      }
      group.epoch = epoch;
      for (const [at, content] of messages) if (at > group.offset) this._take(group, epoch, at, content);
      if (more) return;
      group.offset = Math.max(group.offset, offset);
      this._replay(group);
    }

    // Nobody will say what was missed.
    _release(name, group, reason) {
      const first = group.held?.[0]?.shmchan;
      const wasAsked = group.epoch !== null && group.held;
      if (wasAsked) this._gap(name, { reason, missed: null });
      if (first) Object.assign(group, { epoch: first.epoch, offset: first.offset - 1 });
      else if (wasAsked) group.epoch = null;
      this._replay(group);
    }

    _replay(group) {
      clearTimeout(group.timer);
      const held = group.held ?? [];
      group.held = null;
      for (const frame of held) this.read(frame);
    }
  }

  class WebSocketBridge {
    // options: those of ReconnectingSocket, and onstate(state, detail), onerror(error, data) and ongap(group, detail).
    constructor(options) {
      const { onstate = null, onerror = null, ongap = null, ...rest } = options ?? {};
      this.options = rest;
      this.onstate = onstate;
      this.onerror = onerror;
      this.ongap = ongap;
      this.socket = null;
      this._callback = null;
      this._streams = new Map();
      this._histories = new Histories(
        (question) => this.socket.send(JSON.stringify(question)),
        (text) => this._read(text),
        (group, detail) => this._missed(group, detail),
        10000,
      );
    }

    // These groups have a history, and the server answers for them: be told from the start where they stand. A group of which a
    // message came is followed in any case.
    follow(...groups) {
      for (const group of groups) this._histories.follow(group);
      if (this.state === "open") this._histories.opened();
    }

    // url: absolute, or relative to the page, by default the page's own path; or a function that is asked for it at each try.
    connect(url, protocols, options) {
      this.socket?.close();
      this.socket = null;
      const socket = new ReconnectingSocket(url, protocols, { ...this.options, ...options });
      this.socket = socket;
      socket.addEventListener("message", (event) => this._read(event.data));
      socket.addEventListener("open", () => this._histories.opened());
      socket.addEventListener("close", () => this.socket === socket && this._histories.closed());
      socket.addEventListener("state", ({ detail }) => this.onstate?.(detail.state, detail));
      this.onstate?.(socket.state, { state: socket.state, tries: 0 });
    }

    get state() {
      return this.socket?.state ?? "idle";
    }

    // callback(action, stream): for every message that no demultiplex() is for; stream is null where the message has none.
    listen(callback) {
      this._callback = callback ?? null;
    }

    // callback(action, stream): for the messages of one stream.
    demultiplex(stream, callback) {
      this._streams.set(stream, callback);
    }

    // True if it was sent or waits for a connection, false if it is refused and the caller has to keep it.
    send(message) {
      if (!this.socket) throw new Error("connect() comes before send()");
      return this.socket.send(JSON.stringify(message));
    }

    stream(name) {
      return { send: (action) => this.send({ stream: name, payload: action }) };
    }

    // Close for good. What waits is dropped.
    close(code, reason) {
      this.socket?.close(code, reason);
    }

    _missed(group, detail) {
      if (this.ongap) this.ongap(group, detail);
      else console.error(`shmchan: messages of ${group} were missed (${detail.reason}); set ongap, and load anew there`);
    }

    _read(data) {
      if (typeof data !== "string") return; // whoever expects bytes listens on `socket`
      let message;
      try {
        message = JSON.parse(data);
      } catch (error) {
        if (this.onerror) this.onerror(error, data);
        else console.error("shmchan: a message that is no JSON is left out; its sender has to use JSON", error);
        return;
      }
      if (typeof message?.shmchan === "object" && message.shmchan !== null) {
        this._histories.read(message);
      } else if (message !== null && typeof message === "object" && message.stream !== undefined && "payload" in message) {
        (this._streams.get(message.stream) ?? this._callback)?.(message.payload, message.stream);
      } else {
        this._callback?.(message, null);
      }
    }
  }

  function resolve(url) {
    const given = typeof url === "function" ? url() : url;
    if (typeof location === "undefined") return given;
    const resolved = new URL(given ?? location.pathname, location.href);
    resolved.protocol = resolved.protocol.replace(/^http/, "ws");
    resolved.hash = "";
    return resolved.href;
  }

  function closeEvent(code, reason, wasClean) {
    if (typeof CloseEvent === "function") return new CloseEvent("close", { code, reason, wasClean });
    return Object.assign(new Event("close"), { code, reason, wasClean });
  }

  globalThis.shmchan ??= { ReconnectingSocket, WebSocketBridge }; // whoever loads it again gets the same classes
  if (typeof module === "object" && typeof exports === "object") {
    exports.ReconnectingSocket = globalThis.shmchan.ReconnectingSocket;
    exports.WebSocketBridge = globalThis.shmchan.WebSocketBridge;
  }
})();
