// The page's WebSocket: it opens it, opens it again, and says how it is. It refuses to know what a frame means.

const EVERY_SECONDS = 2;
const SLOWEST_RETRY_SECONDS = 10;
const STALE_AFTER_SECONDS = 7;

export class Feed {
  // `onFrame` takes what a frame holds, `onState` one of waiting, live, stale, gone, and the seconds since the numbers
  // last moved on: a frame that tells the same moment again, or none, is no news. The clocks are never compared.
  constructor(onFrame, onState) {
    this.onFrame = onFrame;
    this.onState = onState;
    this.heardAt = this.lastAt = null;
    this.tries = 0;
    this.goneAt = null;
    this.open();
    setInterval(() => this.look(), 1000);
    addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.retryNow());
  }

  open() {
    const address = new URL("../events/monitor", location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    address.search = `?every=${EVERY_SECONDS}&recent=1`;
    address.hash = "";
    this.retry = null;
    const socket = (this.socket = new WebSocket(address));
    socket.onmessage = (message) => {
      this.tries = 0;
      this.goneAt = null;
      const frame = JSON.parse(message.data);
      if (frame.at !== undefined && frame.at !== this.lastAt) {
        this.lastAt = frame.at;
        this.heardAt = Date.now();
      }
      this.onFrame(frame, socket);
      this.look();
    };
    socket.onclose = () => {
      this.goneAt ??= Date.now();
      this.tries += 1;
      this.look();
      this.retry = setTimeout(() => this.open(), 1000 * Math.min(SLOWEST_RETRY_SECONDS, this.tries));
    };
  }

  retryNow() {
    if (this.retry === null) return;
    clearTimeout(this.retry);
    this.open();
  }

  look() {
    const silent = this.heardAt === null ? null : (Date.now() - this.heardAt) / 1000;
    if (this.goneAt !== null) this.onState("gone", silent, this.tries);
    else if (silent === null) this.onState("waiting", silent, this.tries);
    else this.onState(silent > STALE_AFTER_SECONDS ? "stale" : "live", silent, this.tries);
  }
}
