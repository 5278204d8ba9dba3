// The types of shmchan.js; those of shmchan.mjs are in shmchan.d.mts. What things mean is in docs/browser.md.

export as namespace shmchan;

export type State = "connecting" | "open" | "waiting" | "closed";

export interface StateDetail {
  state: State;
  /** Failures since a connection lasted. */
  tries?: number;
  /** "open": whether it is not the first connection. */
  again?: boolean;
  /** "waiting": milliseconds until the next try. */
  delay?: number;
  /** "waiting" and "closed": of the connection that ended. */
  code?: number;
  reason?: string;
}

/** Times are in milliseconds. */
export interface SocketOptions {
  firstDelay?: number;
  longestDelay?: number;
  settleTime?: number;
  handshakeTimeout?: number;
  silence?: number;
  maxTries?: number;
  queue?: number;
  final?: readonly number[] | ((code: number, reason: string) => boolean);
}

export interface BridgeOptions extends SocketOptions {
  onstate?: ((state: State, detail: StateDetail) => void) | null;
  onerror?: ((error: unknown, data: string) => void) | null;
  ongap?: ((group: string, detail: GapDetail) => void) | null;
}

export type Url = string | URL | (() => string | URL);
export type Callback<Action = any> = (action: Action, stream: string | null) => void;

export interface SocketEventMap {
  open: CustomEvent<{ again: boolean }>;
  message: MessageEvent;
  close: CloseEvent;
  error: Event;
  state: CustomEvent<StateDetail>;
}

export class ReconnectingSocket extends EventTarget {
  constructor(url?: Url, protocols?: string | string[], options?: SocketOptions);
  readonly state: State;
  readonly url: string;
  readonly protocol: string;
  readonly readyState: 0 | 1 | 3;
  readonly bufferedAmount: number;
  readonly queued: number;
  binaryType: BinaryType;
  onopen?: ((event: SocketEventMap["open"]) => void) | null;
  onmessage?: ((event: SocketEventMap["message"]) => void) | null;
  onclose?: ((event: SocketEventMap["close"]) => void) | null;
  onerror?: ((event: SocketEventMap["error"]) => void) | null;
  onstate?: ((event: SocketEventMap["state"]) => void) | null;
  send(data: string | ArrayBufferLike | Blob | ArrayBufferView): boolean;
  close(code?: number, reason?: string): void;
  reconnect(): void;
  addEventListener<Type extends keyof SocketEventMap>(
    type: Type,
    listener: (event: SocketEventMap[Type]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
}

export interface GapDetail {
  reason: "forgotten" | "refused" | "no answer";
  missed: number | null;
}

export class WebSocketBridge {
  constructor(options?: BridgeOptions);
  readonly options: SocketOptions;
  readonly socket: ReconnectingSocket | null;
  readonly state: State | "idle";
  onstate: ((state: State, detail: StateDetail) => void) | null;
  onerror: ((error: unknown, data: string) => void) | null;
  ongap: ((group: string, detail: GapDetail) => void) | null;
  connect(url?: Url, protocols?: string | string[], options?: SocketOptions): void;
  listen<Action = any>(callback?: Callback<Action> | null): void;
  demultiplex<Action = any>(stream: string, callback: Callback<Action>): void;
  follow(...groups: string[]): void;
  send(message: unknown): boolean;
  stream<Action = any>(name: string): { send(action: Action): boolean };
  close(code?: number, reason?: string): void;
}
