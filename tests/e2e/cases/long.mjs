// What only time shows: silence that must be survived, silence that must not, and sockets that pile up.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { udpSockets } from '../lib/namespaces.mjs';
import { callEcho, echo } from './echotest.mjs';

// A client is forgotten 30 s after its last packet, at the next sweep 30 s later at most.
const SILENCE_MS = 62000;
const IDLE_MS = 40000;

const dataOnly = [{ type: 'data' }];

// A call with nothing to say lives on its checks alone; a browser that is gone without a word is forgotten.
async function silence(test) {
  const idle = await test.caller();
  await callEcho(idle, 'idle', [...dataOnly]);
  await test.works(idle, 'idle', { video: false, audio: false, data: echo });

  const gone = await test.caller();
  await callEcho(gone, 'gone');
  await test.works(gone, 'gone');
  const session = test.session(gone, 'gone');
  await gone.page.close();

  await sleep(IDLE_MS);
  await test.works(idle, 'idle', { video: false, audio: false, data: { text: 'still here', expected: 'You wrote: still here' } });
  assert.equal(test.edge.sessions('ended').filter((line) => line.session === test.session(idle, 'idle')).length, 0);
  if (!test.edge.straight) await test.ended(session, SILENCE_MS - IDLE_MS);
}

// Every call gets its way to Janus, and gives it back.
async function manyCalls(test) {
  const sockets = [];
  for (let i = 0; i < 12; i++) {
    const caller = await test.caller();
    await callEcho(caller, 'echo', [...dataOnly]);
    await caller.connected('echo');
    await caller.data('echo', echo.text, echo.expected);
    const session = test.session(caller, 'echo');
    await caller.destroy();
    await test.ended(session, 2000);
    await test.closePages();
    sockets.push(udpSockets(test.run, 'edge'));
  }
  assert.ok(sockets.at(-1) <= sockets[3], `UDP sockets of the edge after each of the calls: ${sockets}`);
}

export const long = () => [
  { name: 'twelve calls in a row leave no socket behind', transport: 'ws', edgeOnly: true, run: manyCalls },
  { name: 'an idle call lives on, a vanished browser ends', transport: 'rest', timeout: 120000, run: silence },
];
