// The program under test, with a generated routes.yml.
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { lines, sessionEvents } from './edge_log.mjs';
import * as janus from './janus.mjs';
import { addr } from './namespaces.mjs';
import { Program, until } from './processes.mjs';

export const HTTP_PORT = 8080;
// Not 6000: browsers send nothing to a candidate whose port is on the list of bad ports of the fetch standard.
export const ICE_PORT = 6001;
export const DIAL_TIMEOUT_MS = 2000;

export class Edge {
  // `rewrite: false` is the negative control: the same proxy, without its duties to the SDP.
  constructor(run, { binary, routes, log, rewrite = true }) {
    Object.assign(this, { run, binary, routes, log, rewrite });
    this.servers = {
      rest: `http://${addr.edgeFront}:${HTTP_PORT}/janus`,
      ws: `ws://${addr.edgeFront}:${HTTP_PORT}/janus`,
    };
    this.remoteIp = addr.edgeFront;
    this.backendFacingIp = addr.edgeBack;
  }

  async start() {
    writeFileSync(this.routes, config(this.rewrite ? 'janus' : 'plain'));
    this.program = new Program(this.run, 'edge', [this.binary, 'run', '-c', this.routes], {
      log: this.log,
      env: { XRTC_LOG: process.env.XRTC_LOG ?? 'info,xrtc=debug' },
    });
    await until('the edge listens', () => this.#listens(), { timeout: 10000 });
  }

  async stop() {
    if (!this.program) return;
    const ended = await this.program.stop('SIGTERM', 4000);
    const panic = lines(this.log).find((line) => line.includes('panicked at'));
    if (panic) throw new Error(`the edge panicked: ${panic}`);
    if (ended !== 0) throw new Error(`the edge ended with ${ended} after SIGTERM, expected 0`);
  }

  get running() {
    return this.program.running;
  }

  sessions(event) {
    return sessionEvents(this.log).filter((line) => line.event === event);
  }

  #listens() {
    if (!this.running) throw new Error(`the edge did not start: ${lines(this.log).slice(-3).join(' / ')}`);
    return canConnect(addr.edgeFront, HTTP_PORT);
  }
}

// No edge: the browser goes straight to Janus, to prove that pages, browsers and Janus are in order.
export class Straight {
  constructor() {
    this.servers = { rest: `${janus.rest}/janus`, ws: janus.ws };
    this.remoteIp = addr.janus;
    this.backendFacingIp = addr.client;
    this.running = true;
    this.straight = true;
  }

  async start() {}

  async stop() {}

  sessions() {
    return [];
  }
}

function config(tag) {
  return `drain_timeout: 1s
services:
  front:
    proto: http
    net: {addr: "${addr.edgeFront}:${HTTP_PORT}"}
    http:
      dial_timeout: ${DIAL_TIMEOUT_MS}ms
      routes:
        ${tag}:
          upstream: http://media
          paths: [/janus]
          protos: [ws@janus-protocol]
  media:
    proto: upstream
    servers: ["${janus.rest}", "${janus.ws}"]
  ice:
    proto: udp
    net: {addr: ":${ICE_PORT}", enable_ice: true, candidate_ips: [${addr.edgeFront}]}
`;
}

function canConnect(host, port) {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 500 });
    const done = (ok) => { socket.destroy(); resolve(ok); };
    socket.once('connect', () => done(true));
    socket.once('error', () => done(false));
    socket.once('timeout', () => done(false));
  });
}
