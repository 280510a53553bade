#!/usr/bin/env node
// End-to-end run: builds the three namespaces, runs drive.mjs in the client's, takes everything down again, whatever
// happens, and fails if anything is left.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import * as counters from './lib/counters.mjs';
import * as namespaces from './lib/namespaces.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const repository = resolve(here, '../..');

const USAGE = `usage: node tests/e2e/run.mjs [--bin PATH] [--straight] [--keep] [CASE]

  CASE        run only the cases whose "group: name" contains this text
  --bin       the xrtc to test (default: $XRTC_BIN, else target/release/xrtc, else target/debug/xrtc)
  --straight  no edge: check pages, browsers and Janus themselves
  --keep      keep logs and captures also when everything passes`;

const options = readOptions();
const run = String(process.pid);
const logs = join(repository, 'target/e2e', run);
const scratch = mkdtempSync(join(tmpdir(), `xrtc-e2e-${run}-`));
let driver;
let interrupted;

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    interrupted ??= signal;
    driver?.kill('SIGKILL');
  });
}

let code = 1;
try {
  code = await runDriver();
} catch (error) {
  console.error(`e2e: ${error.stderr?.trim() || error.message}`);
}
const left = await takeDown();
for (const what of left) console.error(`e2e: left behind: ${what}`);
if (left.length > 0) code = code || 1;
if (interrupted) console.error(`e2e: stopped by ${interrupted}`);
if (code === 0 && !options.keep && !interrupted) rmSync(logs, { recursive: true, force: true });
else console.error(`e2e: logs and captures are in ${logs}`);
process.exit(interrupted ? 130 : code);

async function runDriver() {
  requireRoot();
  mkdirSync(logs, { recursive: true });
  namespaces.up(run);
  counters.install(run);
  if (options.straight) namespaces.setForwarding(run, true);
  if (interrupted) return 130;
  const [file, ...args] = namespaces.inNamespace(run, 'client', [process.execPath, join(here, 'drive.mjs')]);
  const settings = { run, scratch, logs, binary: options.bin, straight: options.straight, filter: options.filter };
  driver = spawn(file, args, {
    cwd: scratch, // where a crash may leave its core
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, XRTC_E2E: JSON.stringify(settings) },
  });
  return new Promise((resolve, reject) => {
    driver.once('error', reject);
    driver.once('exit', (status) => resolve(status ?? 1));
  });
}

// The namespaces are this run's own, so is every process inside. Returns what could not be removed.
async function takeDown() {
  const left = [];
  for (const signal of ['SIGTERM', 'SIGKILL']) {
    for (const pid of namespaces.processes(run)) kill(pid, signal);
    for (let i = 0; i < 30 && namespaces.processes(run).length > 0; i++) await sleep(100);
  }
  left.push(...namespaces.processes(run).map((pid) => `process ${namespaces.describeProcess(pid)}`));
  namespaces.down(run);
  left.push(...namespaces.existing(run).map((side) => `namespace ${namespaces.namespaceName(run, side)}`));
  rmSync(scratch, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  if (existsSync(scratch)) left.push(`directory ${scratch}`);
  return left;
}

function kill(pid, signal) {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}

function requireRoot() {
  if (process.getuid() !== 0) throw new Error('needs root: it makes network namespaces (ip netns)');
}

function readOptions() {
  let parsed;
  try {
    parsed = parseArgs({
      allowPositionals: true,
      options: { bin: { type: 'string' }, straight: { type: 'boolean' }, keep: { type: 'boolean' }, help: { type: 'boolean' } },
    });
  } catch (error) {
    console.error(`${error.message}\n\n${USAGE}`);
    process.exit(2);
  }
  const { values, positionals } = parsed;
  if (values.help) {
    console.log(USAGE);
    process.exit(0);
  }
  const bin = [values.bin, process.env.XRTC_BIN, 'target/release/xrtc', 'target/debug/xrtc']
    .filter(Boolean)
    .map((path) => resolve(repository, path))
    .find(existsSync);
  if (!bin && !values.straight) {
    console.error('e2e: no xrtc found; build it, or name it with --bin');
    process.exit(2);
  }
  return { ...values, bin, filter: positionals.join(' ') };
}
