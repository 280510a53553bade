// A real Janus with a scratch configuration, and the admin API that tells which addresses it really talks to.
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { addr, execIn } from './namespaces.mjs';
import { Program, until } from './processes.mjs';

const SECRET = 'janusoverlord';
const PLUGINS = ['audiobridge', 'echotest', 'videoroom', 'streaming', 'textroom'];
const TRANSPORTS = ['http', 'websockets'];

export const restOf = (address) => `http://${address}:8088`;
export const wsOf = (address) => `ws://${address}:8188`;

// The one Streaming mountpoint: a tone from a file, since nothing else has to send RTP for it.
export const toneMountpoint = 2;
export const textRoom = 1234;

export class Janus {
  constructor(run, dir, log, side = 'janus') {
    Object.assign(this, { run, dir, log, side, address: addr[side] });
  }

  // `general`: further keys of that section.
  async start(nat = {}, general = {}) {
    mkdirSync(this.dir, { recursive: true });
    writeConfig(this.dir, this.address, nat, general);
    this.program = new Program(this.run, this.side, ['janus', '-F', this.dir, '-C', join(this.dir, 'janus.jcfg')], { log: this.log });
    await until('Janus answers', () => this.#answers(), { timeout: 15000 });
  }

  // Without a chance to say goodbye, as when the machine is gone. (An orderly stop of Janus 1.1.2 in a call may crash.)
  async kill() {
    await this.program?.stop('SIGKILL');
  }

  get running() {
    return this.program.running;
  }

  // What Janus knows of one PeerConnection.
  handleInfo(session, handle) {
    return this.#ask('handle_info', `/${session}/${handle}`).info;
  }

  // The Janus that has `session`: see JanusPair.
  having() {
    return this;
  }

  has(session) {
    return this.running && this.#ask('list_sessions').sessions.includes(session);
  }

  #ask(what, path = '') {
    const request = { janus: what, transaction: 'e2e', admin_secret: SECRET };
    return JSON.parse(this.#curl('-d', JSON.stringify(request), `http://${this.address}:7088/admin${path}`));
  }

  #answers() {
    if (!this.running) throw new Error(`Janus did not start, see ${this.log}`);
    try {
      return JSON.parse(this.#curl('-m', '1', `${restOf(this.address)}/janus/info`)).janus === 'server_info';
    } catch {
      return false;
    }
  }

  #curl(...args) {
    return execIn(this.run, this.side, ['curl', '-fsS', ...args]);
  }
}

function writeConfig(dir, address, nat, general) {
  const lib = janusLibrary();
  const write = (name, text) => writeFileSync(join(dir, name), text);
  write('janus.jcfg', `
general: {
  configs_folder = "${dir}"
  plugins_folder = "${lib}/plugins"
  transports_folder = "${lib}/transports"
  events_folder = "${lib}/events"
  loggers_folder = "${lib}/loggers"
  debug_level = 4
  debug_timestamps = true
  debug_colors = false
  admin_secret = "${SECRET}"
  session_timeout = 60
  ${Object.entries(general).map(([key, value]) => `${key} = ${value}`).join('\n')}
}
media: { rtp_port_range = "20000-20999" }
nat: { ${Object.entries(nat).map(([key, value]) => `${key} = ${value}`).join('\n')} }
plugins: { disable = "${allBut(`${lib}/plugins`, PLUGINS)}" }
transports: { disable = "${allBut(`${lib}/transports`, TRANSPORTS)}" }
loggers: { disable = "${allBut(`${lib}/loggers`, [])}" }
events: { broadcast = false }
`);
  write('janus.transport.http.jcfg', `
general: { json = "compact", base_path = "/janus", http = true, port = 8088, ip = "${address}", https = false }
admin: { admin_base_path = "/admin", admin_http = true, admin_port = 7088, admin_ip = "${address}", admin_https = false }
`);
  write('janus.transport.websockets.jcfg', `
general: { json = "compact", ws = true, ws_port = 8188, ws_ip = "${address}", wss = false }
admin: { admin_ws = false, admin_wss = false }
`);
  write('janus.plugin.echotest.jcfg', 'general: { }\n');
  write('janus.plugin.audiobridge.jcfg', 'general: { }\n');
  write('janus.plugin.videoroom.jcfg', 'general: { }\n');
  write('janus.plugin.textroom.jcfg', `general: { json = "compact" }\nroom-${textRoom}: { description = "e2e" }\n`);
  write('janus.plugin.streaming.jcfg', `
general: { }
tone: { type = "live", id = ${toneMountpoint}, description = "tone", filename = "${dir}/tone.mulaw", audio = true, video = false }
`);
  writeFileSync(join(dir, 'tone.mulaw'), squareWave());
}

// Ten seconds of 8 kHz mu-law, 444 Hz.
function squareWave() {
  return Buffer.from(Array.from({ length: 80000 }, (_, i) => (i % 18 < 9 ? 0x90 : 0x10)));
}

function janusLibrary() {
  const arch = readdirSync('/usr/lib').find((dir) => dir.endsWith('-linux-gnu') && readdirSync(`/usr/lib/${dir}`).includes('janus'));
  if (!arch) throw new Error('Janus is not installed: no /usr/lib/*-linux-gnu/janus');
  return `/usr/lib/${arch}/janus`;
}

function allBut(dir, wanted) {
  return readdirSync(dir)
    .filter((file) => file.endsWith('.so') && !wanted.some((name) => file === `libjanus_${name}.so`))
    .join(',');
}
