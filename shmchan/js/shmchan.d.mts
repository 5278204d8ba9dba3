// The types of shmchan.mjs: those of shmchan.js, and the object with all of them as the default.

export * from "./shmchan.js";
declare const shmchan: typeof import("./shmchan.js");
export default shmchan;
