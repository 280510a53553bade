// The call: offers what `source.js` makes to the echo behind xrtc, and measures what comes back.
// The address may say ?transport=udp|tcp, ?signalling=rest and ?source=camera.
import { connect, server } from './client.js';
import { Source, ageOf, scratchpad } from './source.js';
import { $, clearFigures, figure, note, state, steps, way } from './view.js';

const MEASURE_MS = 500;
const GIVE_UP_MS = 20000;
const PREFIX = 'You wrote: ';

const asked = new URLSearchParams(location.search);
const among = (known, wish) => (known.includes(wish) ? wish : known[0]);
const wishes = {
  transport: among(['any', 'udp', 'tcp'], asked.get('transport')),
  signalling: among(['ws', 'rest'], asked.get('signalling')),
  source: 'drawn',
};
const source = new Source();
let call;

class Call {
  #pc = new RTCPeerConnection();
  #pings = new Map();
  #last;

  constructor() {
    this.started = performance.now();
    this.steps = ['signalling', 'answer', 'ICE', 'DTLS', 'data channel', 'first picture'].map((name) => ({ name }));
    this.seen = { state: 'starting' };
    steps(this.steps);
  }

  async start() {
    state('connecting', 'Connecting…', 'Your browser offers, xrtc rewrites, the echo answers.');
    this.client = await connect(wishes.signalling);
    this.#step('signalling');
    this.client.onevent = (event) => this.#onEvent(event);
    this.#prepare();
    await this.#offer();
    this.timer = setInterval(() => this.#measure(), MEASURE_MS);
    this.patience = setTimeout(() => this.fail(this.#hint()), GIVE_UP_MS);
  }

  async restart() {
    const before = this.seen.pair?.local;
    await this.#offer({ iceRestart: true });
    note(`New ICE credentials both ways; the picture never stopped${before ? '' : '…'}.`);
  }

  fail(reason) {
    if (this.closed) return;
    this.seen = { ...this.seen, state: 'failed', reason };
    state('failed', 'Not connected', reason);
    this.close();
  }

  close() {
    this.closed = true;
    clearInterval(this.timer);
    clearTimeout(this.patience);
    this.#pc.close();
    this.client?.close();
  }

  #prepare() {
    for (const track of source.stream.getTracks()) this.#pc.addTrack(track, source.stream);
    this.channel = this.#pc.createDataChannel('demo');
    this.channel.onopen = () => this.#step('data channel');
    this.channel.onmessage = ({ data }) => this.#onData(data);
    this.#pc.onicecandidate = ({ candidate }) => this.client.trickle(candidate).catch(() => {});
    this.#pc.ontrack = ({ track, streams }) => track.kind === 'video' && this.#show(track, streams[0]);
    this.#pc.oniceconnectionstatechange = () => ['connected', 'completed'].includes(this.#pc.iceConnectionState) && this.#step('ICE');
    this.#pc.onconnectionstatechange = () => this.#onState(this.#pc.connectionState);
  }

  async #offer(options) {
    await this.#pc.setLocalDescription(await this.#pc.createOffer(options));
    const { type, sdp } = this.#pc.localDescription;
    const { jsep } = await this.client.message({ audio: true, video: true }, { type, sdp });
    this.#step('answer');
    await this.#pc.setRemoteDescription({ type: 'answer', sdp: only(wishes.transport, jsep.sdp) });
  }

  #onState(now) {
    if (now === 'failed') this.fail(this.#hint());
    if (now === 'disconnected' && this.seen.state === 'connected') this.#interrupted();
    if (now !== 'connected') return;
    clearTimeout(this.patience);
    this.#step('ICE');
    this.#step('DTLS');
    this.seen.state = 'connected';
    this.seen.connectedMs ??= Math.round(performance.now() - this.started);
    state('connected', `Connected in ${this.seen.connectedMs} ms`);
  }

  #interrupted() {
    this.seen.state = 'interrupted';
    state('connecting', 'Interrupted', 'Nothing comes back from xrtc. The browser tries on.');
  }

  #onEvent(event) {
    if (event.janus === 'hangup') this.fail(`The echo hung up: ${event.reason}.`);
    if (event.janus === 'timeout') this.fail('The echo has not heard of this page for a minute.');
    if (event.janus === 'closed') this.fail('xrtc is gone. Is it still running?');
  }

  #show(track, stream) {
    const video = $('back');
    video.srcObject = stream ?? new MediaStream([track]);
    video.play().catch(() => {});
    const first = () => this.#step('first picture');
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(first);
    else video.addEventListener('loadeddata', first, { once: true });
  }

  #onData(data) {
    const text = typeof data === 'string' ? data.slice(data.indexOf(PREFIX) + PREFIX.length) : '';
    const sent = this.#pings.get(text);
    if (sent === undefined) return;
    this.#pings.delete(text);
    this.seen.dataMs = performance.now() - sent;
    this.seen.dataEchoes = (this.seen.dataEchoes ?? 0) + 1;
  }

  #ping() {
    if (this.channel.readyState !== 'open' || this.#pings.size > 20) return;
    const text = `ping ${Math.random().toString(36).slice(2)}`;
    this.#pings.set(text, performance.now());
    this.channel.send(text);
  }

  async #measure() {
    this.#ping();
    const now = read([...(await this.#pc.getStats()).values()]);
    if (this.closed || !['connected', 'interrupted'].includes(this.seen.state)) return;
    const before = this.#last ?? now;
    this.#last = now;
    const seconds = (now.at - before.at) / 1000;
    const rate = (key) => (seconds > 0 ? (now[key] - before[key]) / seconds : undefined);
    const kilobits = (key) => (seconds > 0 ? (rate(key) * 8) / 1000 : undefined);
    Object.assign(this.seen, {
      pair: now.pair, frames: now.frames, audioBytes: now.audioBytes, lost: now.lost, codec: now.codec,
      framesPerSecond: rate('frames'), upKbit: kilobits('sent'), downKbit: kilobits('received'), rttMs: now.rttMs,
      pictureMs: ageOf($('back'), scratch) ?? this.seen.pictureMs,
    });
    this.#showFigures(now);
  }

  #showFigures(now) {
    const { framesPerSecond, upKbit, downKbit, dataMs, rttMs, lost, pictureMs, connectedMs, pair } = this.seen;
    figure('frames', framesPerSecond);
    figure('up', upKbit);
    figure('down', downKbit);
    figure('data', dataMs, 1);
    figure('rtt', rttMs, 1);
    figure('lost', lost);
    way(pair);
    const port = pair?.remote.split(':').pop();
    if (this.seen.state === 'connected') state('connected', `Connected in ${connectedMs} ms`, `Over ${pair?.transport}, through port ${port} of xrtc; signalling by ${this.client.transport.name}.`);
    $('sent-facts').textContent = now.sentSize ?? '';
    $('back-facts').textContent = [now.codec, now.backSize].filter(Boolean).join(' · ');
    $('picture-delay').hidden = pictureMs === undefined;
    $('picture-delay').textContent = `back after ${pictureMs} ms`;
    if (source.silent) note('Click anywhere to start the tone: browsers wait for that.');
  }

  #hint() {
    const way = { udp: 'UDP', tcp: 'TCP' }[wishes.transport];
    return way
      ? `No ICE check was answered over ${way} alone. Is the port open? Try the other way.`
      : 'No ICE check was answered. Does this browser reach the addresses that xrtc printed, over UDP or TCP? See --host.';
  }

  #step(name) {
    const step = this.steps.find((each) => each.name === name);
    if (step.at !== undefined || this.closed) return;
    step.at = performance.now() - this.started;
    this.seen.steps = Object.fromEntries(this.steps.filter((each) => each.at !== undefined).map(({ name, at }) => [name, Math.round(at)]));
    steps(this.steps);
  }
}

const scratch = scratchpad();

// The answer with the candidates of one transport only.
function only(transport, sdp) {
  if (transport === 'any') return sdp;
  return sdp.split('\r\n').filter((line) => !line.startsWith('a=candidate:') || line.split(' ')[2].toLowerCase() === transport).join('\r\n');
}

// What matters of the browser's statistics.
function read(reports) {
  const of = (type, kind) => reports.filter((each) => each.type === type && (!kind || each.kind === kind));
  const sum = (list, key) => list.reduce((total, each) => total + (each[key] ?? 0), 0);
  const [inbound, outbound] = [of('inbound-rtp'), of('outbound-rtp')];
  const back = of('inbound-rtp', 'video')[0];
  const codec = reports.find((each) => each.id === back?.codecId)?.mimeType?.replace('video/', '');
  const chosen = selected(reports);
  return {
    at: performance.now(),
    frames: back?.framesDecoded ?? 0,
    audioBytes: sum(of('inbound-rtp', 'audio'), 'bytesReceived'),
    received: sum(inbound, 'bytesReceived'),
    sent: sum(outbound, 'bytesSent'),
    lost: Math.max(0, sum(inbound, 'packetsLost')),
    codec,
    backSize: back?.frameWidth && `${back.frameWidth} × ${back.frameHeight}`,
    sentSize: size(of('outbound-rtp', 'video')[0]),
    rttMs: chosen?.currentRoundTripTime === undefined ? undefined : chosen.currentRoundTripTime * 1000,
    pair: chosen && describe(reports, chosen),
  };
}

const size = (report) => report?.frameWidth && `${report.frameWidth} × ${report.frameHeight}`;

function selected(reports) {
  const id = reports.find((each) => each.type === 'transport' && each.selectedCandidatePairId)?.selectedCandidatePairId;
  // Firefox marks the pair itself.
  return reports.find((each) => each.type === 'candidate-pair' && (id ? each.id === id : each.selected));
}

function describe(reports, pair) {
  const find = (id) => reports.find((each) => each.id === id);
  const [local, remote] = [find(pair.localCandidateId), find(pair.remoteCandidateId)];
  const shown = (it) => it?.address && !it.address.endsWith('.local');
  const address = (it) => (shown(it) ? `${it.address.includes(':') ? `[${it.address}]` : it.address}:${it.port}` : 'hidden by the browser');
  return { local: address(local), remote: address(remote), transport: (remote?.protocol ?? 'udp').toUpperCase() };
}

async function dial() {
  call?.close();
  clearFigures();
  way();
  note('');
  const mine = call = new Call();
  await mine.start().catch((error) => mine.fail(`${error.message}.`));
}

async function choose(kind) {
  if (kind === 'camera') {
    try {
      await source.useCamera();
      wishes.source = 'camera';
      return;
    } catch (error) {
      note(`No camera: ${error.message}. The page draws instead.`);
    }
  }
  source.useDrawing();
  wishes.source = 'drawn';
}

function showWishes() {
  for (const [name, value] of Object.entries(wishes)) {
    const input = document.querySelector(`input[name=${name}][value=${CSS.escape(value)}]`);
    if (input) input.checked = true;
  }
}

$('controls').addEventListener('change', async ({ target }) => {
  if (target.name === 'source') {
    await choose(target.value);
    showWishes();
    return;
  }
  wishes[target.name] = target.value;
  dial();
});
$('again').addEventListener('click', dial);
$('restart').addEventListener('click', () => call.restart().catch((error) => note(error.message)));
$('sound').addEventListener('click', () => {
  const hear = $('back').muted;
  $('back').muted = !hear;
  $('sound').setAttribute('aria-pressed', String(hear));
  note(hear ? 'What you hear went to the echo and back.' : '');
});
addEventListener('pointerdown', () => source.wake()?.then(() => note('')), { once: true });
addEventListener('pagehide', () => call?.close());

// For whoever looks at this page with a program.
window.demo = { snapshot: () => call && { ...call.seen, signalling: call.client?.transport.name, source: wishes.source }, restart: () => call.restart() };

$('sent').srcObject = source.stream;
if (asked.get('source') === 'camera') await choose('camera');
showWishes();
source.wake();
dial();
server().then((info) => {
  if (info && info['server-name'] !== 'xrtc-demo') $('server').textContent = `${info.name} ${info.version_string}`;
}, () => {});
