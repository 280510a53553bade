// The endpoint in Janus' place: starts and ends like it, and tells what it was sent.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { addr, execIn } from './namespaces.mjs';
import { Program, until } from './processes.mjs';

const PORT = 8088;
// Made by scripts/test from requirements.txt.
const PYTHON = fileURLToPath(new URL('../../../target/e2e-venv/bin/python', import.meta.url));

export const upstream = `http://${addr.janus}:${PORT}`;

export class WhipEndpoint {
  constructor(run, log) {
    Object.assign(this, { run, log });
  }

  async start() {
    if (!existsSync(PYTHON)) throw new Error(`needs ${PYTHON} with aiortc and aiohttp, see README.md`);
    const script = fileURLToPath(new URL('whip_endpoint.py', import.meta.url));
    this.program = new Program(this.run, 'janus', [PYTHON, script, addr.janus, String(PORT)], { log: this.log });
    await until('the endpoint answers', () => this.#try(), { timeout: 20000, every: 200 });
  }

  async kill() {
    await this.program?.stop('SIGKILL');
  }

  get running() {
    return this.program.running;
  }

  seen() {
    return JSON.parse(execIn(this.run, 'janus', ['curl', '-s', '-m', '5', `${upstream}/seen`]));
  }

  #try() {
    if (!this.running) throw new Error(`the endpoint did not start, see ${this.log}`);
    try {
      return this.seen();
    } catch {
      return false;
    }
  }
}
