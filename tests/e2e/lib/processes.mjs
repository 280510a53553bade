// Starts programs inside a namespace and stops exactly those.
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { inNamespace } from './namespaces.mjs';

export class Program {
  constructor(run, side, command, { log, env = {} }) {
    const [file, ...args] = inNamespace(run, side, command);
    const out = openSync(log, 'a');
    this.name = command[0].split('/').pop();
    this.child = spawn(file, args, { stdio: ['ignore', out, out], env: { ...process.env, ...env } });
    closeSync(out);
    this.exited = new Promise((resolve) => {
      this.child.once('exit', (code, signal) => resolve(signal ?? code));
      this.child.once('error', resolve);
    });
  }

  get running() {
    return this.child.pid !== undefined && this.child.exitCode === null && this.child.signalCode === null;
  }

  // Returns how it ended: an exit code or the name of a signal.
  async stop(signal = 'SIGTERM', patience = 5000) {
    if (this.running) this.child.kill(signal);
    const ended = await Promise.race([this.exited, sleep(patience, 'late', { ref: false })]);
    if (ended !== 'late') return ended;
    this.child.kill('SIGKILL');
    return this.exited;
  }
}

// Polls until `condition` returns something truthy, and returns that.
export async function until(what, condition, { timeout = 5000, every = 50 } = {}) {
  const deadline = Date.now() + timeout;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`${what}: not within ${timeout} ms`);
    await sleep(every);
  }
}
