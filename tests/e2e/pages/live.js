// A client of the live protocol in the routed mode: one PeerConnection up, one down for each of the others; where it asks for
// the mix, one by which its sound goes up and that of all others, mixed, comes down.
const heard = [];
const down = new Map();
let socket;
let up;
let mix;

function ask(action, data) {
  socket.send(JSON.stringify({ a: action, d: data }));
}

function reply(action) {
  return wait(`${action}R`, () => {
    const at = heard.findIndex((message) => message.a === `${action}R`);
    return at >= 0 && heard.splice(at, 1)[0];
  });
}

async function wait(what, found) {
  const deadline = performance.now() + 15000;
  for (;;) {
    const value = found();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`${what}: not within 15 s; heard ${JSON.stringify(heard.map((it) => it.a))}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function trickle(pc, to) {
  pc.onicecandidate = ({ candidate }) => ask('exchangeCandidate', { to, candidate: candidate?.candidate ? candidate.toJSON() : { completed: true } });
}

async function onMessage(message) {
  heard.push(message);
  if (message.a !== 'eventExchangeSdp') return;
  const { from: { socketId }, sdp } = message.d;
  if (socketId === 'publisher') return up.setRemoteDescription(sdp);
  if (socketId === 'mcu') return mixed(sdp);
  let pc = down.get(socketId);
  if (!pc) {
    pc = new RTCPeerConnection();
    down.set(socketId, pc);
    pc.ontrack = ({ track }) => play(track);
    trickle(pc, socketId);
  }
  await pc.setRemoteDescription(sdp);
  await pc.setLocalDescription();
  ask('exchangeSdp', { to: socketId, sdp: { type: 'answer', sdp: pc.localDescription.sdp } });
}

async function mixed(sdp) {
  mix = new RTCPeerConnection();
  mix.ontrack = ({ track }) => play(track, 'audio');
  trickle(mix, 'mcu');
  await mix.setRemoteDescription(sdp);
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  for (const track of stream.getTracks()) mix.addTrack(track, stream);
  await mix.setLocalDescription();
  ask('exchangeSdp', { to: 'mcu', sdp: { type: 'answer', sdp: mix.localDescription.sdp } });
}

function play(track, kind = 'video') {
  const element = document.createElement(kind);
  Object.assign(element, { autoplay: true, muted: kind === 'video', srcObject: new MediaStream([track]) });
  document.body.append(element);
}

async function seen(pc) {
  const all = [...(await pc.getStats()).values()];
  const pair = all.find((it) => it.type === 'candidate-pair' && it.nominated && it.state === 'succeeded');
  const remote = pair && all.find((it) => it.id === pair.remoteCandidateId);
  return {
    state: pc.connectionState,
    remote: remote && { address: remote.address, port: remote.port },
    sdp: pc.remoteDescription?.sdp,
    frames: all.find((it) => it.type === 'inbound-rtp' && it.kind === 'video')?.framesDecoded ?? 0,
    energy: all.find((it) => it.type === 'inbound-rtp' && it.kind === 'audio')?.totalAudioEnergy ?? 0,
    inbound: all.filter((it) => it.type === 'inbound-rtp').length,
  };
}

window.e2e = {
  async join(url, bearer, roomId, further = {}) {
    socket = new WebSocket(url);
    socket.onmessage = ({ data }) => onMessage(JSON.parse(data));
    await new Promise((resolve, reject) => Object.assign(socket, { onopen: resolve, onerror: reject }));
    ask('join', { roomId, bearer, platform: 'Web', orientation: 90, camera: 'front', ...further });
    return reply('join');
  },
  async publish() {
    const pc = new RTCPeerConnection();
    up ??= pc;
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
    for (const track of stream.getTracks()) pc.addTransceiver(track, { direction: 'sendonly', streams: [stream] });
    await pc.setLocalDescription();
    trickle(pc, 'publisher');
    ask('exchangeSdp', { to: 'publisher', sdp: { type: 'offer', sdp: pc.localDescription.sdp } });
    return reply('exchangeSdp');
  },
  heard: (name) => heard.filter((message) => message.a === name),
  async stats() {
    const others = await Promise.all([...down].map(async ([id, pc]) => ({ id, ...(await seen(pc)) })));
    return { up: up && await seen(up), others };
  },
  mix: () => mix && seen(mix),
  hangUpMix: () => mix.close(),
  leave: () => socket.close(1000),
};
