// VideoRoom: a publisher offers; Janus offers to the subscriber.
import { everything } from './echotest.mjs';

const sendOnly = () => everything().map((track) => ({ ...track, recv: false }));

export async function publish(caller, room, name = 'publisher', tracks = sendOnly()) {
  await caller.attach(name, 'videoroom');
  await caller.send(name, { request: 'create', room, publishers: 6, bitrate: 512000 });
  await caller.send(name, { request: 'join', ptype: 'publisher', room, display: name });
  const { id } = await caller.message(name, 'videoroom', 'joined');
  await caller.offer(name, { request: 'publish', audio: true, video: true, data: true }, tracks);
  // Janus offers nobody a feed that is not up yet.
  await caller.connected(name);
  return id;
}

export async function subscribe(caller, room, feed, name = 'subscriber') {
  await caller.attach(name, 'videoroom', { message: { request: 'start', room }, tracks: [{ type: 'data' }] });
  await caller.send(name, { request: 'join', ptype: 'subscriber', room, streams: [{ feed }] });
  await caller.message(name, 'videoroom', 'attached');
}

export function freshRoom() {
  return Math.floor(Math.random() * 2 ** 31) + 5000;
}

// Two people, each with a Janus session of their own.
async function publisherAndSubscriber(test) {
  const room = freshRoom();
  const alice = await test.caller();
  const bob = await test.caller();
  const feed = await publish(alice, room);
  await subscribe(bob, room, feed);
  await test.works(bob, 'subscriber');
  await test.works(alice, 'publisher', { video: false, audio: false });
  await alice.say('publisher', 'to everybody');
  await bob.received('subscriber', 'to everybody');
}

export const videoRooms = (transports = ['rest', 'ws']) => transports.map((transport) => ({
  name: `VideoRoom publisher + subscriber over ${transport.toUpperCase()}`, transport, run: publisherAndSubscriber,
}));
