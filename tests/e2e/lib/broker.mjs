// RabbitMQ beside the edge, and a reader that we did not write (pika) of what is published there.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execIn } from './namespaces.mjs';
import { lines } from './edge_log.mjs';
import { Program, until } from './processes.mjs';

const SERVER = '/usr/lib/rabbitmq/bin/rabbitmq-server';
const PYTHON = fileURLToPath(new URL('../../../target/e2e-venv/bin/python', import.meta.url));
const READER = fileURLToPath(new URL('broker_reader.py', import.meta.url));

export class Broker {
  constructor(run, dir, file) {
    Object.assign(this, { run, dir, log: file('rabbitmq.log'), read: file('events.ndjson') });
  }

  async start() {
    execIn(this.run, 'edge', ['ip', 'link', 'set', 'lo', 'up']);
    mkdirSync(this.dir, { recursive: true });
    writeFileSync(join(this.dir, 'plugins'), '[].');
    this.program = new Program(this.run, 'edge', [SERVER], { log: this.log, env: this.#env() });
    await until('RabbitMQ listens', () => this.#listens(), { timeout: 30000, every: 200 });
    this.reader = new Program(this.run, 'edge', [PYTHON, '-u', READER], { log: this.read });
    await until('the reader is bound', () => lines(this.read).includes('bound'), { timeout: 10000 });
  }

  // What was published: { topic, body, persistent, type }, oldest first.
  events() {
    return lines(this.read).filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
  }

  async stop() {
    await this.reader?.stop('SIGKILL');
    await this.program?.stop('SIGKILL');
  }

  // All of it below one directory, and nothing on any address but loopback.
  #env() {
    const { dir } = this;
    return {
      HOME: dir,
      RABBITMQ_NODENAME: 'xrtc@localhost',
      RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
      RABBITMQ_NODE_PORT: '5672',
      RABBITMQ_MNESIA_BASE: join(dir, 'db'),
      RABBITMQ_LOG_BASE: join(dir, 'log'),
      RABBITMQ_PID_FILE: join(dir, 'pid'),
      RABBITMQ_ENABLED_PLUGINS_FILE: join(dir, 'plugins'),
      RABBITMQ_CONF_ENV_FILE: '/dev/null',
      ERL_EPMD_ADDRESS: '127.0.0.1',
    };
  }

  #listens() {
    if (!this.program.running) throw new Error(`RabbitMQ did not start, see ${this.log}`);
    try {
      execIn(this.run, 'edge', ['bash', '-c', 'exec 3<>/dev/tcp/127.0.0.1/5672']);
      return true;
    } catch {
      return false;
    }
  }
}
