// The browser may use nothing but a relay: whatever reaches Janus came through TURN and, inside the process, the ICE port.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { TURN_PORT, TURN_TLS_PORT } from '../lib/edge.mjs';
import { addr, inNamespace } from '../lib/namespaces.mjs';
import { callEcho, echo } from './echotest.mjs';

const PYTHON = fileURLToPath(new URL('../../../target/e2e-venv/bin/python', import.meta.url));
const RELAYS = fileURLToPath(new URL('../lib/turn_relays.py', import.meta.url));

const urls = {
  udp: `turn:${addr.edgeFront}:${TURN_PORT}?transport=udp`,
  tcp: `turn:${addr.edgeFront}:${TURN_PORT}?transport=tcp`,
  tls: `turns:${addr.edgeFront}:${TURN_TLS_PORT}?transport=tcp`,
};

async function relayed(test) {
  const caller = await test.caller();
  await callEcho(caller);
  await test.works(caller, 'echo', { data: echo });
  const { local } = await caller.stats('echo');
  assert.equal(local.type, 'relay', 'selected local candidate of the browser');
  assert.equal(local.relayProtocol, test.spec.relay, 'transport between browser and relay');
  const packets = await test.packets();
  for (const leak of ['clientToEdgePort', 'clientToJanus', 'janusFromElsewhere', 'janusToClient']) {
    assert.equal(packets[leak], 0, `UDP packets ${leak}`);
  }
  // Over TCP and TLS no UDP packet leaves the browser at all.
  assert.equal(packets.clientToOtherEdgePort > 0, test.spec.relay === 'udp', `UDP packets to the TURN port: ${packets.clientToOtherEdgePort}`);
}

// A client that we did not write at both ends: what one relay sends reaches the other, whatever carries it to the client.
async function betweenRelays(test) {
  const script = [PYTHON, RELAYS, addr.edgeFront, TURN_PORT, TURN_TLS_PORT, 'john', 's3cr3t', ...test.spec.ways].map(String);
  const [file, ...args] = inNamespace(test.run, 'client', script);
  const { stdout } = await promisify(execFile)(file, args, { timeout: 30000 });
  const { there, back, expected, ...refused } = JSON.parse(stdout);
  assert.deepEqual({ there, back }, { there: expected, back: expected }, 'packets that arrived as they were sent');
  assert.deepEqual(refused, { wrong_password: 401, wrong_user: 401 });
}

const aioice = (...ways) => ({ name: `aioice through TURN/${ways.join(' and TURN/').toUpperCase()}`, ways, control: true, edgeOnly: true, run: betweenRelays });

const through = (relay, browser = 'chromium') => ({
  name: `EchoTest through TURN/${relay.toUpperCase()}${browser === 'firefox' ? ', Firefox' : ''}`,
  transport: 'ws',
  browser,
  relay,
  ice: { iceTransportPolicy: 'relay', iceServers: [{ urls: urls[relay], username: 'john', credential: 's3cr3t' }] },
  edgeOnly: true,
  run: relayed,
});

export const turn = () => [
  through('udp'), through('tcp'), through('tls'),
  through('udp', 'firefox'), through('tcp', 'firefox'),
  aioice('udp', 'tcp'), aioice('tls', 'udp'),
];
