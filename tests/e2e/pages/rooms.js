// Clients of the room protocols. The webrtc-server, Blueprints and gst ones do what the pages of those projects do, message by
// message; the last one is GStreamer's own package. Bundled and put where the edge has its pages.
import GstWebRTCAPI from 'gstwebrtc-api';

const made = [];
window.RTCPeerConnection = class extends window.RTCPeerConnection {
  constructor(...args) {
    super(...args);
    made.push(this);
  }
};

const video = document.querySelector('video');
const camera = () => navigator.mediaDevices.getUserMedia({ audio: true, video: true });
const socket = (path) => new Promise((resolve, reject) => {
  const ws = new WebSocket(`wss://${location.host}${path}`);
  ws.onopen = () => resolve(ws);
  ws.onerror = () => reject(new Error(`cannot open ${path}`));
});
const heard = [];
let ws;
let api;

async function peerConnection() {
  const pc = new RTCPeerConnection();
  for (const track of (await camera()).getTracks()) pc.addTrack(track);
  pc.ontrack = ({ track }) => { if (track.kind === 'video') video.srcObject = new MediaStream([track]); };
  return pc;
}

async function offerBy(pc) {
  await pc.setLocalDescription(await pc.createOffer());
  return pc.localDescription;
}

async function answerBy(pc, offer) {
  await pc.setRemoteDescription(offer);
  await pc.setLocalDescription(await pc.createAnswer());
  return pc.localDescription;
}

// One message after the other, however long one takes.
function inOrder(handle) {
  let last = Promise.resolve();
  return ({ data }) => {
    heard.push(data);
    last = last.then(() => handle(data));
  };
}

// The room is the first segment of the page's own path; who hears `joined` calls.
async function webrtcServer(username, password) {
  const room = location.pathname.split('/')[1];
  const peers = new Map();
  ws = await socket(`/websocket/${room}`);
  const send = (event, to, data) => ws.send(JSON.stringify({ event, to, data }));
  const peer = async (id) => {
    const pc = await peerConnection();
    pc.onicecandidate = ({ candidate }) => candidate && send('candidate', id, { candidate });
    peers.set(id, pc);
    return pc;
  };
  const events = {
    joined: async ({ data }) => send('offer', data.peer_id, { offer: await offerBy(await peer(data.peer_id)) }),
    offer: async ({ from, data }) => send('answer', from, { answer: await answerBy(await peer(from), data.offer) }),
    answer: ({ from, data }) => peers.get(from).setRemoteDescription(data.answer),
    candidate: ({ from, data }) => peers.get(from).addIceCandidate(data.candidate),
    left: ({ data }) => peers.get(data.peer_id)?.close(),
  };
  const authenticated = new Promise((resolve) => { events.authenticated = ({ data }) => resolve(data.peer_id); });
  events.unauthorized = () => { throw new Error('unauthorized'); };
  ws.onmessage = inOrder((text) => events[JSON.parse(text).event](JSON.parse(text)));
  ws.send(JSON.stringify({ event: 'authenticate', data: { username, password } }));
  return authenticated;
}

// The joiner sends ENTERROOM and his offer at once; the creator answers.
async function blueprints(room) {
  ws = await socket('/signaling');
  const pc = await peerConnection();
  pc.onicecandidate = ({ candidate }) => candidate && ws.send(JSON.stringify({
    type: 'candidate', label: candidate.sdpMLineIndex, id: candidate.sdpMid, candidate: candidate.candidate,
  }));
  let created;
  const got = new Promise((resolve) => { created = resolve; });
  ws.onmessage = inOrder(async (text) => {
    const message = JSON.parse(text);
    if (message.type === 'GETROOM') created(message.value);
    if (message.type === 'offer') ws.send(JSON.stringify(await answerBy(pc, message)));
    if (message.type === 'answer') await pc.setRemoteDescription(message);
    if (message.type === 'candidate') await pc.addIceCandidate({ sdpMLineIndex: message.label, sdpMid: message.id, candidate: message.candidate });
  });
  if (room === undefined) {
    ws.send(JSON.stringify({ type: 'GETROOM', value: '' }));
    return got;
  }
  ws.send(JSON.stringify({ type: 'ENTERROOM', value: room }));
  ws.send(JSON.stringify(await offerBy(pc)));
  return room;
}

// Registers and waits for a call.
async function gst(uid) {
  ws = await socket('/gst');
  let registered;
  const hello = new Promise((resolve) => { registered = resolve; });
  let pc;
  ws.onclose = ({ code }) => heard.push(`closed ${code}`);
  ws.onmessage = inOrder(async (text) => {
    if (text === 'HELLO') return registered();
    const message = JSON.parse(text);
    if (message.sdp) {
      pc = await peerConnection();
      pc.onicecandidate = ({ candidate }) => candidate && ws.send(JSON.stringify({ ice: candidate }));
      ws.send(JSON.stringify({ sdp: await answerBy(pc, message.sdp) }));
    }
    if (message.ice) await pc.addIceCandidate(message.ice);
  });
  ws.send(`HELLO ${uid}`);
  return hello;
}

// As the package's own documentation shows it.
function connectApi() {
  api = new GstWebRTCAPI({ meta: { name: document.title }, signalingServerUrl: `wss://${location.host}/sink`, webrtcConfig: { iceServers: [] } });
  return new Promise((resolve) => api.registerConnectionListener({ connected: resolve, disconnected: () => heard.push('disconnected') }));
}

async function gstProducer() {
  await connectApi();
  const session = api.createProducerSession(await camera());
  session.addEventListener('error', ({ message }) => heard.push(`error ${message}`));
  session.start();
}

async function gstConsumer() {
  await connectApi();
  const producer = await new Promise((resolve) => {
    api.registerPeerListener({ producerAdded: resolve, producerRemoved: () => heard.push('producer removed') });
    const [known] = api.getAvailableProducers();
    if (known) resolve(known);
  });
  const session = api.createConsumerSession(producer.id);
  session.addEventListener('error', ({ message }) => heard.push(`error ${message}`));
  session.addEventListener('streamsChanged', () => { video.srcObject = session.streams[0]; });
  session.connect();
  return producer.meta;
}

window.e2e = {
  start: (kind, ...args) => ({ webrtcServer, blueprints, gst, gstProducer, gstConsumer })[kind](...args),
  heard: () => heard,
  hangUp: () => ws.close(),
  async stats() {
    const pc = made.at(-1);
    if (!pc) return { state: 'none' };
    const all = [...(await pc.getStats()).values()];
    const of = (type, kind) => all.find((it) => it.type === type && it.kind === kind);
    return {
      state: pc.connectionState,
      framesDecoded: of('inbound-rtp', 'video')?.framesDecoded ?? 0,
      audioBytes: of('inbound-rtp', 'audio')?.bytesReceived ?? 0,
      framesSent: of('outbound-rtp', 'video')?.framesSent ?? 0,
    };
  },
};
