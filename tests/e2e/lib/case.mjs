// One case while it runs: opens pages, remembers what to print, and checks afterwards that no packet went astray.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Caller } from './caller.mjs';
import { goesThroughEdge, mediaRises, noWayAround } from './checks.mjs';
import * as counters from './counters.mjs';
import { until } from './processes.mjs';

export class Case {
  #pages = [];
  #secrets = new Set();

  constructor(spec, group) {
    Object.assign(this, { spec, group, run: group.run, edge: group.edge, janus: group.janus });
    this.shown = {};
  }

  async start() {
    this.before = counters.read(this.run);
  }

  // A page with a Janus session.
  async caller({ transport = this.spec.transport } = {}) {
    const page = await this.group.browsers.open(this.spec.browser ?? 'chromium', this.#callerUrl(), this.group.consoleLog);
    this.#pages.push(page);
    const caller = new Caller(page, transport);
    await caller.connect(this.edge.servers[transport], this.spec.ice);
    return caller;
  }

  // Firefox looks for its own address on the way to where the page came from, in that IP version alone.
  #callerUrl() {
    if (this.spec.pageThroughEdge) return this.edge.pageUrl;
    return this.group.six && this.spec.browser === 'firefox' ? this.group.pageUrlSix : this.group.pageUrl;
  }

  // A page without a Janus session.
  async page(file) {
    return this.openPage(`${this.group.pageUrl}${file}`);
  }

  // Any page, ready when `ready` is true in it.
  async openPage(url, ready) {
    const page = await this.group.browsers.open(this.spec.browser ?? 'chromium', url, this.group.consoleLog, ready);
    this.#pages.push(page);
    return page;
  }

  // Connected, both ends see the edge, media arrives, and `text` comes back over the data channel.
  async works(caller, name, { video = true, audio = true, data } = {}) {
    const { connectedMs } = await caller.connected(name);
    this.shown.connectedMs ??= connectedMs;
    await goesThroughEdge(this, caller, name);
    await this.#collectSecrets(caller, name);
    const { framesDecoded } = await mediaRises(caller, name, { video, audio });
    if (video) this.shown.frames = framesDecoded;
    if (data) await caller.data(name, data.text, data.expected);
  }

  // What the edge's log calls the PeerConnection `name`.
  session(caller, name) {
    const [session, handle] = [caller.session, caller.handles.get(name)];
    return this.edge.sessions('registered').find((line) => line.handle?.[0] === session && line.handle[1] === handle)?.session;
  }

  // The edge's line about the end of `session`.
  ended(session, timeout) {
    return until(`the edge ends session ${session}`, () => this.edge.sessions('ended').find((line) => line.session === session), { timeout });
  }

  async packets() {
    return counters.read(this.run, this.before);
  }

  async finish() {
    await this.closePages();
    assert.ok(this.janus.running, 'Janus has crashed');
    assert.ok(this.edge.running, 'the edge has crashed');
    if (!this.edge.straight && !this.spec.control && !this.spec.relay) noWayAround(await this.packets(), this.edge.ice, this.edge.backendTransport);
    const leaked = [...this.#secrets].filter((secret) => this.edge.log && readFileSync(this.edge.log, 'utf8').includes(secret));
    assert.equal(leaked.length, 0, 'ICE passwords in the log of the edge');
  }

  async #collectSecrets(caller, name) {
    const { passwords } = await caller.stats(name);
    for (const password of passwords) this.#secrets.add(password);
  }

  async closePages() {
    const pages = this.#pages.splice(0);
    await Promise.all(pages.map((page) => page.close().catch(() => {})));
  }
}
