// One page as the cases see it: a Janus session with PeerConnections that have names.
import { until } from './processes.mjs';

export class Caller {
  constructor(page, transport) {
    this.page = page;
    this.transport = transport;
    this.handles = new Map();
  }

  // `ice`: which servers and candidates the browser may use; without it, none and all.
  async connect(server, ice) {
    this.session = await this.#call('connect', server, ice);
  }

  async attach(name, plugin, answer) {
    this.handles.set(name, await this.#call('attach', name, plugin, answer));
  }

  send(name, message) { return this.#call('send', name, message); }
  offer(name, message, tracks, options) { return this.#call('offer', name, message, tracks, options); }
  message(name, key, value) { return this.#call('message', name, key, value); }
  say(name, text) { return this.#call('say', name, text); }
  received(name, expected) { return this.#call('received', name, expected); }
  stats(name) { return this.#call('stats', name); }
  watchStalls(name) { return this.#call('watchStalls', name); }
  longestStall(name) { return this.#call('longestStall', name); }
  hangup(name) { return this.#call('hangup', name); }
  detach(name) { return this.#call('detach', name); }
  destroy() { return this.#call('destroy'); }

  // As when the person closes the tab: handlers for `beforeunload` run, then the page is gone.
  leave() { return this.page.goto('about:blank'); }

  async connected(name, timeout = 10000) {
    let seen;
    await until(`${name} connects`, async () => {
      seen = await this.stats(name);
      return seen.state === 'connected';
    }, { timeout, every: 100 }).catch((error) => {
      throw new Error(`${error.message} (${seen?.state}, before: ${seen?.states.join(' ') || 'nothing'})`);
    });
    return seen;
  }

  // Says `text` over the data channel, and hears `expected`.
  async data(name, text, expected) {
    await this.say(name, text);
    await this.received(name, expected);
  }

  #call(method, ...args) {
    return this.page.evaluate((method, args) => window.e2e[method](...args), method, args);
  }
}
