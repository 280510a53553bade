// Clients of other people, each as its own documentation shows it. Bundled by page_server.mjs.
import { WHIPClient as EyevinnPublisher } from '@eyevinn/whip-web-client';
import { WebRTCPlayer } from '@eyevinn/webrtc-player';
import { WHIPClient } from 'whip-whep/whip.js';
import { WHEPClient } from 'whip-whep/whep.js';

const made = [];
window.RTCPeerConnection = class extends window.RTCPeerConnection {
  constructor(...args) {
    super(...args);
    made.push(this);
  }
};

const video = document.querySelector('video');
const camera = () => navigator.mediaDevices.getUserMedia({ audio: true, video: true });

const starts = {
  async eyevinnPublisher(endpoint, options) {
    const client = new EyevinnPublisher({ endpoint, opts: { iceServers: [], ...options } });
    await client.ingest(await camera());
    return () => client.destroy();
  },
  async publisher(endpoint) {
    const client = new WHIPClient();
    const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    for (const track of (await camera()).getTracks()) pc.addTransceiver(track, { direction: 'sendonly' });
    await client.publish(pc, endpoint);
    return () => client.stop();
  },
  async eyevinnPlayer(endpoint) {
    const player = new WebRTCPlayer({ video, type: 'whep', iceServers: [] });
    await player.load(new URL(endpoint));
    return () => player.unload();
  },
  async player(endpoint) {
    const client = new WHEPClient();
    const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    for (const kind of ['audio', 'video']) pc.addTransceiver(kind, { direction: 'recvonly' });
    await client.view(pc, endpoint);
    return () => client.stop();
  },
};

let stop;

window.e2e = {
  async start(kind, endpoint, options) {
    stop = await starts[kind](endpoint, options);
  },
  stop: () => stop(),
  async stats() {
    const pc = made.at(-1);
    const all = [...(await pc.getStats()).values()];
    const pair = all.find((it) => it.type === 'candidate-pair' && it.nominated && it.state === 'succeeded');
    const remote = pair && all.find((it) => it.id === pair.remoteCandidateId);
    return {
      state: pc.connectionState,
      remote: remote && { address: remote.address, port: remote.port },
      remoteSdp: pc.remoteDescription?.sdp,
      framesDecoded: all.find((it) => it.type === 'inbound-rtp' && it.kind === 'video')?.framesDecoded ?? 0,
    };
  },
};
