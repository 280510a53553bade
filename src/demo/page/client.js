// As much of a Janus client as an echo needs: one session, one handle, over a WebSocket, or over REST where that does not open.

const KEEPALIVE_MS = 25000;
const PATIENCE_MS = 8000;

// `way`: 'ws' (falls back to REST) or 'rest'.
export async function connect(way) {
  if (way === 'rest') return start(new Rest());
  try {
    return await start(await Socket.open());
  } catch (error) {
    console.warn('no WebSocket, REST instead:', error.message);
    return start(new Rest());
  }
}

// What stands behind xrtc, by its own words.
export async function server() {
  const response = await fetch('/janus/info');
  return response.ok ? response.json() : undefined;
}

async function start(transport) {
  const client = new Client(transport);
  client.session = (await client.request({ janus: 'create' })).data.id;
  transport.listen(client.session, (event) => client.take(event));
  client.handle = (await client.request({ janus: 'attach', plugin: 'janus.plugin.echotest' })).data.id;
  client.timer = setInterval(() => client.request({ janus: 'keepalive' }, false).catch(() => {}), KEEPALIVE_MS);
  return client;
}

class Client {
  onevent = () => {};
  #waiting = new Map();

  constructor(transport) {
    this.transport = transport;
  }

  // The reply to a request, unless it is an error.
  async request(message, toHandle = this.handle) {
    const reply = await this.transport.send({
      ...message,
      transaction: Math.random().toString(36).slice(2),
      ...(this.session && { session_id: this.session }),
      ...(toHandle && { handle_id: toHandle }),
    });
    if (reply.janus === 'error') throw new Error(reply.error.reason);
    return reply;
  }

  // Sends a message to EchoTest and waits for the event that answers it.
  async message(body, jsep) {
    const { transaction } = await this.request({ janus: 'message', body, ...(jsep && { jsep }) });
    const event = await within(PATIENCE_MS, 'an answer of the echo', this.#answer(transaction));
    const { error } = event.plugindata.data;
    if (error) throw new Error(error);
    return event;
  }

  trickle(candidate) {
    return this.request({ janus: 'trickle', candidate: candidate ?? { completed: true } });
  }

  take(event) {
    const waits = this.#waiting.get(event.transaction);
    if (waits?.resolve) {
      this.#waiting.delete(event.transaction);
      waits.resolve(event);
    } else if (event.janus === 'event' && event.transaction) {
      this.#waiting.set(event.transaction, { event });
    }
    this.onevent(event);
  }

  close() {
    clearInterval(this.timer);
    this.request({ janus: 'destroy' }, false).catch(() => {}).finally(() => this.transport.close());
  }

  // The event may be there before the reply that tells its transaction.
  #answer(transaction) {
    const early = this.#waiting.get(transaction)?.event;
    if (early) return Promise.resolve(early);
    return new Promise((resolve) => this.#waiting.set(transaction, { resolve }));
  }
}

class Socket {
  name = 'WebSocket';
  #replies = new Map();

  static open() {
    const url = `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/janus`;
    const socket = new WebSocket(url, 'janus-protocol');
    return within(PATIENCE_MS, 'a WebSocket', new Promise((resolve, reject) => {
      socket.onopen = () => resolve(new Socket(socket));
      socket.onerror = () => reject(new Error('the WebSocket does not open'));
    }));
  }

  constructor(socket) {
    this.socket = socket;
    socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
  }

  send(message) {
    this.socket.send(JSON.stringify(message));
    return within(PATIENCE_MS, 'a reply', new Promise((resolve) => this.#replies.set(message.transaction, resolve)));
  }

  listen(_session, take) {
    this.take = take;
    this.socket.onclose = () => take({ janus: 'closed' });
  }

  close() {
    this.socket.onclose = null;
    this.socket.close();
  }

  #take(message) {
    // Janus may send the event that answers a message before the reply that acknowledges it.
    const reply = message.janus !== 'event' && this.#replies.get(message.transaction);
    if (!reply) return this.take?.(message);
    this.#replies.delete(message.transaction);
    reply(message);
  }
}

class Rest {
  name = 'REST';

  async send({ session_id: session, handle_id: handle, ...message }) {
    const path = ['/janus', session, handle].filter(Boolean).join('/');
    const response = await fetch(path, { method: 'POST', body: JSON.stringify(message), signal: AbortSignal.timeout(PATIENCE_MS) })
      .catch((error) => { throw error instanceof TypeError ? new Error('Nobody answers at this address any more') : error; });
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`.trim());
    return response.json();
  }

  async listen(session, take) {
    while (!this.closed) {
      try {
        const response = await fetch(`/janus/${session}?maxev=10`, { cache: 'no-store' });
        if (!response.ok) break;
        for (const event of await response.json()) if (event.janus !== 'keepalive') take(event);
      } catch {
        break;
      }
    }
    if (!this.closed) take({ janus: 'closed' });
  }

  close() {
    this.closed = true;
  }
}

function within(ms, what, promise) {
  return Promise.race([promise, new Promise((_, reject) => setTimeout(() => reject(new Error(`${what}: not within ${ms / 1000} s`)), ms))]);
}
