// `xrtc demo` in the edge's namespace: edge, media server and page in one program.
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { ICE_PORT, SHARED_PORT, canConnect } from './edge.mjs';
import { lines, sessionEvents } from './edge_log.mjs';
import { addr, execIn } from './namespaces.mjs';
import { Program, until } from './processes.mjs';

export class Demo {
  // `janus`: URLs of one that stands where the echo is otherwise.
  constructor(run, { binary, log, janus = [] }) {
    Object.assign(this, { run, binary, log, janus });
    const host = `${addr.edgeFront}:${SHARED_PORT}`;
    this.servers = { rest: `http://${host}/janus`, ws: `ws://${host}/janus` };
    this.pages = { http: `http://${host}/`, https: `https://${host}/` };
    this.goes('udp');
    // The echo's media stays on loopback, and it is the same program.
    this.backendTransport = janus.length > 0 ? 'udp' : 'none';
    this.server = janus.length > 0 ? undefined : { start: async () => {}, kill: async () => {}, running: true };
  }

  // What the case at hand expects of the browser.
  goes(protocol) {
    this.ice = { protocol, port: protocol === 'udp' ? ICE_PORT : SHARED_PORT };
  }

  async start() {
    this.certificates = certificates();
    const flags = ['--host', addr.edgeFront, '--port', SHARED_PORT, '--udp-port', ICE_PORT, ...this.janus.flatMap((url) => ['--janus', url])];
    this.program = new Program(this.run, 'edge', [this.binary, 'demo', ...flags.map(String)], {
      log: this.log,
      env: { XRTC_LOG: process.env.XRTC_LOG ?? 'info,xrtc=debug' },
    });
    await until('the demo says where it is', () => this.#isUp(), { timeout: 10000 });
  }

  // Ctrl-C ends it at once, whatever is going on, and it leaves nothing behind.
  async stop() {
    if (!this.program) return;
    const ended = await this.program.stop('SIGINT', 3000);
    const panic = lines(this.log).find((line) => line.includes('panicked at'));
    if (panic) throw new Error(`the demo panicked: ${panic}`);
    if (ended !== 0) throw new Error(`the demo ended with ${ended} after SIGINT, expected 0`);
    const left = certificates().filter((name) => !this.certificates.includes(name));
    if (left.length > 0) throw new Error(`the demo left ${left.join(' ')} in ${tmpdir()}`);
  }

  get running() {
    return this.program.running;
  }

  sessions(event) {
    return sessionEvents(this.log).filter((line) => line.event === event);
  }

  // While `work` runs, no UDP packet leaves the client for the edge.
  async withoutUdp(work) {
    const rule = (action) => execIn(this.run, 'client', ['iptables', '-w', action, 'OUTPUT', '-p', 'udp', '-d', addr.edgeFront, '-j', 'DROP']);
    rule('-I');
    try {
      await work();
    } finally {
      rule('-D');
    }
  }

  async #isUp() {
    if (!this.running) throw new Error(`the demo did not start: ${lines(this.log).slice(-3).join(' / ')}`);
    return lines(this.log).some((line) => line.includes(`https://${addr.edgeFront}:${SHARED_PORT}/`)) && canConnect(addr.edgeFront, SHARED_PORT);
  }
}

const certificates = () => readdirSync(tmpdir()).filter((name) => name.startsWith('xrtc-demo-'));
