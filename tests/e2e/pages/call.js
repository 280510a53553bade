// One page, any number of PeerConnections in one Janus session. The cases drive it through `window.e2e`; everything
// they get back is plain JSON.
import Janus from '/janus.js';

const calls = new Map();
let session;

const e2e = {
  connect(server, ice) {
    return new Promise((resolve, reject) => {
      session = new Janus({ server, iceServers: [], ...ice, success: () => resolve(session.getSessionId()), error: reject });
    });
  },

  async attach(name, plugin, answer) {
    const call = new Call(answer);
    calls.set(name, call);
    await call.attach(plugin);
    return call.handle.getId();
  },

  send: (name, message) => calls.get(name).send(message),
  offer: (name, message, tracks, options) => calls.get(name).offer(message, tracks, options),
  message: (name, key, value) => calls.get(name).message((msg) => msg[key] === value),
  say: (name, text) => calls.get(name).say(text),
  received: (name, expected) => calls.get(name).received(expected),
  stats: (name) => calls.get(name).stats(),
  watchStalls: (name) => calls.get(name).watchStalls(),
  longestStall: (name) => calls.get(name).longestStall(),
  hangup: (name) => calls.get(name).handle.hangup(true),
  detach: (name) => new Promise((success, error) => calls.get(name).handle.detach({ success, error })),
  destroy: () => new Promise((success, error) => session.destroy({ success, error })),
};

class Call {
  // `answer`: { message, tracks } for plugins that make the offer.
  constructor(answer) {
    this.answer = answer;
    this.messages = [];
    this.texts = [];
    this.states = [];
  }

  attach(plugin) {
    return new Promise((resolve, reject) => {
      session.attach({
        plugin: `janus.plugin.${plugin}`,
        success: (handle) => { this.handle = handle; resolve(); },
        error: reject,
        onmessage: (message, jsep) => this.#onMessage(message, jsep),
        onremotetrack: (track, mid, on) => on && play(track),
        ondata: (text) => this.texts.push(text),
        ondataopen: () => { this.dataOpen = true; },
      });
    });
  }

  send(message, jsep) {
    return new Promise((success, error) => this.handle.send({ message, jsep, success, error }));
  }

  async offer(message, tracks, options) {
    this.started ??= performance.now();
    const jsep = await new Promise((resolve, error) => {
      // Without trickle janus.js succeeds twice: with nothing, and when all candidates are there.
      const success = (offer) => offer && resolve(offer);
      this.handle.createOffer({ tracks: tracks.map(withCamera), ...options, success, error });
    });
    this.#watchState();
    await this.send(message, jsep);
    await wait('the answer', () => this.#pc.signalingState === 'stable');
  }

  message(matches) {
    return wait('a message', () => {
      const refusal = this.messages.find((message) => message.error);
      if (refusal) throw new Error(`Janus refuses: ${refusal.error}`);
      return this.messages.find(matches);
    });
  }

  async say(text) {
    await wait('an open data channel', () => this.dataOpen);
    await new Promise((success, error) => this.handle.data({ text, success, error }));
  }

  received(expected) {
    return wait(`data with ${expected}`, () => this.texts.find((text) => text.includes(expected)));
  }

  async stats() {
    if (!this.#pc) return { state: 'without PeerConnection', states: [], ufrags: [], remoteCandidates: [] };
    const reports = [...(await this.#pc.getStats()).values()];
    const inbound = (kind) => reports.filter((r) => r.type === 'inbound-rtp' && r.kind === kind);
    const pair = selectedPair(reports);
    const candidate = (id) => {
      const found = reports.find((r) => r.id === id);
      return found && { address: found.address, port: found.port, protocol: found.protocol, type: found.candidateType, relayProtocol: found.relayProtocol };
    };
    return {
      state: this.#pc.connectionState,
      states: this.states,
      connectedMs: this.connectedMs,
      framesDecoded: sum(inbound('video'), 'framesDecoded'),
      playingVideos: inbound('video').filter((r) => r.framesDecoded > 0).length,
      audioBytes: sum(inbound('audio'), 'bytesReceived'),
      local: candidate(pair?.localCandidateId),
      remote: candidate(pair?.remoteCandidateId),
      ufrags: this.#sdps.map((sdp) => sdp.match(/a=ice-ufrag:(\S+)/)?.[1]),
      passwords: this.#sdps.flatMap((sdp) => sdp.match(/(?<=a=ice-pwd:)\S+/g) ?? []),
      remoteSdp: this.#pc.remoteDescription?.sdp,
      remoteCandidates: this.#pc.remoteDescription?.sdp.match(/a=candidate:.*/g) ?? [],
    };
  }

  // From now on, notes the longest time without a new video frame.
  watchStalls() {
    let [last, since, longest] = [0, performance.now(), 0];
    this.longestStall = () => Math.round(Math.max(longest, performance.now() - since));
    setInterval(async () => {
      const { framesDecoded } = await this.stats();
      const now = performance.now();
      longest = Math.max(longest, now - since);
      if (framesDecoded !== last) [last, since] = [framesDecoded, now];
    }, 50);
  }

  get #pc() {
    return this.handle.webrtcStuff.pc;
  }

  get #sdps() {
    return [this.#pc.localDescription, this.#pc.remoteDescription].map((description) => description?.sdp ?? '');
  }

  #onMessage(message, jsep) {
    this.messages.push(message);
    if (jsep) console.log(`${jsep.type} received\n${jsep.sdp}`);
    if (jsep?.type === 'answer') this.handle.handleRemoteJsep({ jsep, error: (e) => console.error('answer refused', String(e)) });
    if (jsep?.type === 'offer') this.#answerOffer(jsep);
  }

  #answerOffer(jsep) {
    this.started ??= performance.now();
    this.handle.createAnswer({
      jsep,
      tracks: this.answer.tracks,
      success: (own) => { this.#watchState(); this.send(this.answer.message, own); },
      error: (e) => console.error('offer refused', String(e)),
    });
  }

  #watchState() {
    if (this.watched) return;
    this.watched = true;
    this.#pc.addEventListener('connectionstatechange', () => {
      this.states.push(this.#pc.connectionState);
      if (this.#pc.connectionState === 'connected') this.connectedMs ??= Math.round(performance.now() - this.started);
    });
  }
}

// Small pictures: two cores encode and decode all of them.
function withCamera(track) {
  return track.type === 'video' && track.capture === true ? { ...track, capture: { width: 320, height: 240 } } : track;
}

function play(track) {
  const video = document.createElement(track.kind);
  video.autoplay = true;
  video.muted = true;
  video.srcObject = new MediaStream([track]);
  document.body.append(video);
}

function selectedPair(reports) {
  const id = reports.find((r) => r.type === 'transport')?.selectedCandidatePairId;
  // Firefox marks the pair itself.
  return reports.find((r) => r.type === 'candidate-pair' && (id ? r.id === id : r.selected));
}

function sum(reports, key) {
  return reports.reduce((total, report) => total + (report[key] ?? 0), 0);
}

async function wait(what, condition, timeout = 10000) {
  const deadline = performance.now() + timeout;
  for (;;) {
    const value = condition();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`${what}: not within ${timeout} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

Janus.init({
  debug: ['warn', 'error'],
  dependencies: Janus.useDefaultDependencies({ adapter: window.adapter }),
  callback: () => { window.e2e = e2e; },
});
