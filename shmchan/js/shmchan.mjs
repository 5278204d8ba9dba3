// shmchan.js with exports: import { WebSocketBridge } from "/shmchan.mjs". It loads the file of its own name that ends in .js.

await import(import.meta.url.replace(/\.mjs(?=$|[?#])/, ".js"));

export const { ReconnectingSocket, WebSocketBridge } = globalThis.shmchan;
export default globalThis.shmchan;
