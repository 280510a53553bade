// Two Janus, each on a machine of its own.
import * as counters from './counters.mjs';
import { Janus, restOf, wsOf } from './janus.mjs';
import { addOtherJanus, addr, removeOtherJanus } from './namespaces.mjs';

const SIDES = ['janus', 'otherJanus'];
const ADDRESSES = SIDES.map((side) => addr[side]);

// Checked often, so that a case need not wait long for the rotation.
export const pairGroup = { servers: [...ADDRESSES.map(restOf), ...ADDRESSES.map(wsOf)], health: { interval: '1s' } };

export class JanusPair {
  constructor(run, dir, log) {
    this.run = run;
    this.both = SIDES.map((side) => new Janus(run, `${dir}-${side}`, log.replace('janus.log', `${side}.log`), side));
  }

  async start(nat) {
    addOtherJanus(this.run);
    counters.install(this.run, ['otherJanus']);
    await Promise.all(this.both.map((janus) => janus.start(nat)));
  }

  async kill() {
    await Promise.all(this.both.map((janus) => janus.kill()));
    removeOtherJanus(this.run);
  }

  get running() {
    return this.both.every((janus) => janus.running);
  }

  // The one that has `session`.
  having(session) {
    const found = this.both.filter((janus) => janus.has(session));
    if (found.length !== 1) throw new Error(`${found.length} Janus have session ${session}`);
    return found[0];
  }
}
