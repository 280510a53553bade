// Plugins that make the offer themselves: Streaming (receive only) and TextRoom (no media at all).
import { textRoom, toneMountpoint } from '../lib/janus.mjs';

async function streaming(test) {
  const caller = await test.caller();
  await caller.attach('tone', 'streaming', { message: { request: 'start' }, tracks: [] });
  await caller.send('tone', { request: 'watch', id: toneMountpoint });
  await caller.message('tone', 'streaming', 'event');
  await test.works(caller, 'tone', { video: false });
}

async function textRoomChat(test) {
  const caller = await test.caller();
  await caller.attach('chat', 'textroom', { message: { request: 'ack' }, tracks: [{ type: 'data' }] });
  await caller.send('chat', { request: 'setup' });
  await caller.message('chat', 'textroom', 'event');
  await test.works(caller, 'chat', { video: false, audio: false });
  const say = (message) => JSON.stringify({ transaction: message.textroom, room: textRoom, ...message });
  await caller.data('chat', say({ textroom: 'join', username: 'alice' }), '"success"');
  await caller.data('chat', say({ textroom: 'message', text: 'hello, room' }), '"hello, room"');
}

export const janusOffers = () => [
  { name: 'Streaming over REST, Janus offers', transport: 'rest', run: streaming },
  { name: 'TextRoom over WS, Janus offers data only', transport: 'ws', run: textRoomChat },
];
