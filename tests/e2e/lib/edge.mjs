// The program under test, with a generated routes.yml.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { lines, sessionEvents } from './edge_log.mjs';
import { restOf, wsOf } from './janus.mjs';
import { addr } from './namespaces.mjs';
import { Program, until } from './processes.mjs';
import { upstream as whipUpstream } from './whip_endpoint.mjs';

export const HTTP_PORT = 8080;
// Not 6000: browsers send nothing to a candidate whose port is on the list of bad ports of the fetch standard.
export const ICE_PORT = 6001;
// The one TCP port of the groups that have no UDP port: pages, signalling and media, plain and TLS.
export const SHARED_PORT = 8443;
// STUN and TURN over UDP and TCP, and in TLS.
export const TURN_PORT = 3478;
export const TURN_TLS_PORT = 5349;
// For operators; from the client's side, as the browser is there.
export const ADMIN_PORT = 9090;
export const ADMIN_TOKEN = 'token-of-the-end-to-end-run';
export const DIAL_TIMEOUT_MS = 2000;
// The drain of one second, and a moment for what is under way.
const STOP_PATIENCE_MS = 4000;

export class Edge {
  // `rewrite: false` is the negative control: the same proxy, without its duties to the SDP.
  // `route`: further keys of the route, such as icedirect.
  // `media`: the upstream group, where it is not the one Janus.
  // `live`: rooms of protocol live over Janus' VideoRoom, events to a broker beside the edge.
  // `shared`: one TCP port for everything and no UDP port; `pages` is where the pages are, as the edge reaches them.
  // `candidate`: the address that is published, where it is not the edge's own.
  constructor(run, { binary, routes, log, rewrite = true, shared = false, whip = false, live = false, pages, route = {}, media, six = false, candidate, turn = false }) {
    Object.assign(this, { run, binary, routes, log, rewrite, shared, whip, live, pages, route, turn });
    this.media = media ?? { servers: [restOf(addr.janus), wsOf(addr.janus)] };
    this.backendTransport = route.icetcp ? 'tcp' : 'udp';
    this.port = shared ? SHARED_PORT : HTTP_PORT;
    this.ice = shared ? { protocol: 'tcp', port: SHARED_PORT } : { protocol: 'udp', port: ICE_PORT };
    this.six = six;
    this.candidate = candidate;
    this.remoteIp = six ? addr.edgeFrontSix : addr.edgeFront;
    // Who comes through a relay comes from the edge itself.
    this.clientIp = turn ? addr.edgeFront : six ? addr.clientSix : addr.client;
    const host = `${bracketed(this.remoteIp)}:${this.port}`;
    this.servers = {
      rest: `http://${host}/janus`,
      ws: `ws://${host}/janus`,
      https: `https://${host}/janus`,
      wss: `wss://${host}/janus`,
    };
    this.pageUrl = `https://${host}/`;
    this.backendFacingIp = addr.edgeBack;
  }

  async start() {
    writeFileSync(this.routes, this.#config());
    this.program = new Program(this.run, 'edge', [this.binary, 'run', '-c', this.routes], {
      log: this.log,
      env: { XRTC_LOG: process.env.XRTC_LOG ?? 'info,xrtc=debug' },
    });
    await until('the edge listens', () => this.#listens(), { timeout: 10000 });
  }

  async stop() {
    if (!this.program) return;
    const ended = await this.program.stop('SIGTERM', STOP_PATIENCE_MS);
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

  #config() {
    if (this.whip) return whipConfig();
    if (this.live) return liveConfig(`${this.routes}.events`);
    if (this.shared) {
      const made = certificate(this.routes);
      this.certificate = made.cert;
      return sharedConfig(this.pages, made, mediaGroup(this.media));
    }
    const turn = this.turn ? turnConfig(certificate(this.routes)) : '';
    return config(this.rewrite ? 'janus' : 'plain', this.route, mediaGroup(this.media), this.six, this.candidate) + turn;
  }

  #listens() {
    if (!this.running) throw new Error(`the edge did not start: ${lines(this.log).slice(-3).join(' / ')}`);
    return canConnect(this.remoteIp, this.port);
  }
}

// No edge: the browser goes straight to Janus, to prove that pages, browsers and Janus are in order.
export class Straight {
  constructor() {
    this.servers = { rest: `${restOf(addr.janus)}/janus`, ws: wsOf(addr.janus) };
    this.ice = { protocol: 'udp' };
    this.backendTransport = 'udp';
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

function mediaGroup({ servers, ...further }) {
  const keys = [`servers: ${JSON.stringify(servers)}`, ...Object.entries(further).map(([key, value]) => `${key}: ${JSON.stringify(value)}`)];
  return `  media:
    proto: upstream
    ${keys.join('\n    ')}
`;
}

export const bracketed = (ip) => (ip.includes(':') ? `[${ip}]` : ip);

function config(tag, route, media, six, candidate) {
  const [http, ice, own] = six ? ['[::]', '[::]', addr.edgeFrontSix] : [addr.edgeFront, '', addr.edgeFront];
  const told = candidate ?? own;
  const further = Object.entries(route).map(([key, value]) => `          ${key}: ${value}\n`).join('');
  return `drain_timeout: 1s
services:
  front:
    proto: http
    net: {addr: "${http}:${HTTP_PORT}"}
    http:
      dial_timeout: ${DIAL_TIMEOUT_MS}ms
      routes:
        ${tag}:
          upstream: http://media
          paths: [/janus]
          protos: [ws@janus-protocol]
${further}${media}${six ? '' : operators()}  ice:
    proto: udp
    net: {addr: "${ice}:${ICE_PORT}", enable_ice: true, candidate_ips: ["${told}"]}
`;
}

function turnConfig({ cert, key }) {
  return `  turn0:
    proto: turn
    net:
      addr: "${addr.edgeFront}:${TURN_PORT}"
      tls_addr: "${addr.edgeFront}:${TURN_TLS_PORT}"
      tls_crt_file: "${cert}"
      tls_key_file: "${key}"
    turn: {realm: example.org, auth: {users: {john: s3cr3t}}}
`;
}

function operators() {
  return `  operators:
    proto: admin
    net: {addr: "${addr.edgeFront}:${ADMIN_PORT}"}
    admin: {token: ${ADMIN_TOKEN}}
`;
}

function whipConfig() {
  return `drain_timeout: 1s
services:
  front:
    proto: http
    net: {addr: "${addr.edgeFront}:${HTTP_PORT}"}
    http:
      routes:
        whip: {upstream: "${whipUpstream}", paths: [{/live: /endpoint}]}
  ice:
    proto: udp
    net: {addr: ":${ICE_PORT}", enable_ice: true, candidate_ips: [${addr.edgeFront}]}
`;
}

export const LIVE_SECRET = 'secret of the e2e run';

function liveConfig(events) {
  return `drain_timeout: 1s
services:
  media: {proto: upstream, servers: ["${wsOf(addr.janus)}"]}
  front:
    proto: http
    net: {addr: "${addr.edgeFront}:${HTTP_PORT}"}
    http:
      routes:
        live:
          paths: [/api]
          signalling:
            protocol: live
            jwt_secret: "${LIVE_SECRET}"
            upstream: "http://media"
            janus: {audiobridge: true}
            events: {amqp: "amqp://127.0.0.1:5672", file: "${events}"}
  ice:
    proto: udp
    net: {addr: ":${ICE_PORT}", enable_ice: true, candidate_ips: [${addr.edgeFront}]}
`;
}

function sharedConfig(pages, { cert, key }, media) {
  return `drain_timeout: 1s
services:
  front:
    proto: tcp
    enable_http: true
    net:
      addr: "${addr.edgeFront}:${SHARED_PORT}"
      enable_ice: true
      tls_crt_file: "${cert}"
      tls_key_file: "${key}"
    http:
      routes:
        janus: {upstream: "http://media", paths: [/janus], protos: [ws@janus-protocol]}
        pages: {upstream: "${pages}", paths: [/, /janus.js]}
${media}`;
}

// Self-signed, beside the routes.
function certificate(routes) {
  const [cert, key] = [`${routes}.cert.pem`, `${routes}.key.pem`];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
    '-subj', '/CN=edge', '-addext', `subjectAltName=IP:${addr.edgeFront}`, '-keyout', key, '-out', cert], { stdio: 'pipe' });
  return { cert, key };
}

export function canConnect(host, port) {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 500 });
    const done = (ok) => { socket.destroy(); resolve(ok); };
    socket.once('connect', () => done(true));
    socket.once('error', () => done(false));
    socket.once('timeout', () => done(false));
  });
}
