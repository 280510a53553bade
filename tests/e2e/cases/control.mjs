// The negative control: the same proxy without its duties to the SDP. The call is set up, and must not connect. If it
// does, there is a way around the edge and the other cases prove nothing.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { callEcho } from './echotest.mjs';

const LONG_ENOUGH_MS = 6000;

async function mustNotConnect(test) {
  const caller = await test.caller();
  await callEcho(caller);
  await sleep(LONG_ENOUGH_MS);
  const { states, remoteCandidates } = await caller.stats('echo');
  assert.ok(remoteCandidates.length > 0, 'the answer of Janus arrived');
  assert.ok(!states.includes('connected'), 'connected around the edge');
  const { janusFromEdge, janusFromElsewhere, clientToJanus } = await test.packets();
  assert.ok(clientToJanus > 0, 'the counters see the browser trying');
  assert.equal(janusFromEdge + janusFromElsewhere, 0, 'UDP packets that reached Janus');
}

export const controls = () => ['rest', 'ws'].map((transport) => ({
  name: `without rewriting nothing connects, ${transport.toUpperCase()}`, transport, control: true, edgeOnly: true, run: mustNotConnect,
}));
