// An edge with rooms and their pages on one TLS port, nothing behind it.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SHARED_PORT, canConnect } from './edge.mjs';
import { lines } from './edge_log.mjs';
import { addr } from './namespaces.mjs';
import { Program, until } from './processes.mjs';

const page = (name) => fileURLToPath(new URL(`../pages/${name}`, import.meta.url));

export class RoomsEdge {
  constructor(run, { binary, dir, routes, log }) {
    Object.assign(this, { run, binary, dir, routes, log });
    this.pageUrl = `https://${addr.edgeFront}:${SHARED_PORT}/`;
    this.signalling = `wss://${addr.edgeFront}:${SHARED_PORT}`;
    this.server = { start: async () => {}, kill: async () => {}, running: true };
  }

  async start() {
    await this.#pages();
    writeFileSync(this.routes, this.#config());
    this.program = new Program(this.run, 'edge', [this.binary, 'run', '-c', this.routes], {
      log: this.log,
      env: { XRTC_LOG: process.env.XRTC_LOG ?? 'info,xrtc=debug' },
    });
    await until('the edge listens', () => canConnect(addr.edgeFront, SHARED_PORT), { timeout: 10000 });
  }

  async stop() {
    if (!this.program) return;
    const ended = await this.program.stop('SIGTERM', 8000);
    const panic = lines(this.log).find((line) => line.includes('panicked at'));
    if (panic) throw new Error(`the edge panicked: ${panic}`);
    if (ended !== 0) throw new Error(`the edge ended with ${ended} after SIGTERM, expected 0`);
  }

  get running() {
    return this.program.running;
  }

  sessions() {
    return [];
  }

  async #pages() {
    const { build } = await import('esbuild');
    mkdirSync(join(this.dir, 'js'), { recursive: true });
    cpSync(page('rooms.html'), join(this.dir, 'index.html'));
    await build({ entryPoints: [page('rooms.js')], bundle: true, format: 'esm', outfile: join(this.dir, 'js/rooms.js'), logLevel: 'silent' });
  }

  #config() {
    const [cert, key] = [`${this.routes}.cert.pem`, `${this.routes}.key.pem`];
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
      '-subj', '/CN=edge', '-addext', `subjectAltName=IP:${addr.edgeFront}`, '-keyout', key, '-out', cert], { stdio: 'pipe' });
    return `drain_timeout: 0
services:
  front:
    proto: http
    net: {addr: "${addr.edgeFront}:${SHARED_PORT}", tls_crt_file: "${cert}", tls_key_file: "${key}"}
    http:
      root: "${this.dir}"
      routes:
        rooms: {signalling: {protocol: webrtc-server, auth: {users: {ann: a, bob: b}}}}
        book: {paths: [/signaling], signalling: {protocol: blueprints}}
        gst: {paths: [/gst], signalling: {protocol: gst}}
        sink: {paths: [/sink], signalling: {protocol: webrtcsink}}
`;
  }
}
