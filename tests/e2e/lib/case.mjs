// One case while it runs: opens pages, remembers what to print, and checks afterwards that no packet went astray.
import assert from 'node:assert/strict';
import { Caller } from './caller.mjs';
import { goesThroughEdge, mediaRises, noWayAround } from './checks.mjs';
import * as counters from './counters.mjs';
import { until } from './processes.mjs';

export class Case {
  #pages = [];

  constructor(spec, group) {
    Object.assign(this, { spec, group, run: group.run, edge: group.edge, janus: group.janus });
    this.shown = {};
  }

  async start() {
    this.before = counters.read(this.run);
    this.sessionsBefore = this.edge.sessions('registered').length;
  }

  // A page with a Janus session.
  async caller({ transport = this.spec.transport } = {}) {
    const page = await this.group.browsers.open(this.spec.browser ?? 'chromium', this.group.pageUrl, this.group.consoleLog);
    this.#pages.push(page);
    const caller = new Caller(page);
    await caller.connect(this.edge.servers[transport]);
    return caller;
  }

  // Connected, both ends see the edge, media arrives, and `text` comes back over the data channel.
  async works(caller, name, { video = true, audio = true, data } = {}) {
    const { connectedMs } = await caller.connected(name);
    this.shown.connectedMs ??= connectedMs;
    await goesThroughEdge(this, caller, name);
    const { framesDecoded } = await mediaRises(caller, name, { video, audio });
    if (video) this.shown.frames = framesDecoded;
    if (data) await caller.data(name, data.text, data.expected);
  }

  // The edge's sessions of this case; the log names them in the order of their registration.
  registered() {
    return [...new Set(this.edge.sessions('registered').slice(this.sessionsBefore).map((line) => line.session))];
  }

  async ended(session, timeout) {
    if (this.edge.straight) return undefined;
    return until(`the edge ends session ${session}`, () => this.edge.sessions('ended').find((line) => line.session === session), { timeout });
  }

  async packets() {
    return counters.read(this.run, this.before);
  }

  async finish() {
    await this.closePages();
    assert.ok(this.janus.running, 'Janus has crashed');
    assert.ok(this.edge.running, 'the edge has crashed');
    if (!this.edge.straight && !this.spec.control) noWayAround(await this.packets());
  }

  async closePages() {
    const pages = this.#pages.splice(0);
    await Promise.all(pages.map((page) => page.close().catch(() => {})));
  }
}
