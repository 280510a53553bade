// The client's address changes in the middle of a call, as behind a NAT that forgot, or on another network.
import assert from 'node:assert/strict';
import { mediaRises } from '../lib/checks.mjs';
import { ICE_PORT } from '../lib/edge.mjs';
import { addr, execIn } from '../lib/namespaces.mjs';
import { until } from '../lib/processes.mjs';
import { callEcho, echo } from './echotest.mjs';

const NEW_ADDRESS = '10.50.0.9';

// A rule of NAT counts for a flow that begins, and this one is running; with the next packet coming from the edge it would
// begin there, and never get its new address. So packets towards the edge begin another flow, in a zone of their own,
// and only what comes to the new address belongs to it.
const TOWARDS_EDGE = ['-p', 'udp', '-d', addr.edgeFront, '--dport', String(ICE_PORT)];
const ZONE = ['-j', 'CT', '--zone', '1'];
const RULES = [
  ['nat', 'POSTROUTING', ...TOWARDS_EDGE, '-j', 'SNAT', '--to-source', NEW_ADDRESS],
  ['raw', 'PREROUTING', '-p', 'udp', '-d', NEW_ADDRESS, ...ZONE],
  ['raw', 'OUTPUT', ...TOWARDS_EDGE, ...ZONE],
];

// Firefox checks its path every 5 s, give or take a fifth, and a busy machine may cost it one of them.
const FOLLOWS = 25000;

async function roaming(test) {
  const caller = await test.caller();
  await callEcho(caller);
  await test.works(caller, 'echo', { data: echo });
  const session = test.session(caller, 'echo');
  const nat = (action, rules) => rules.forEach(([table, ...rule]) => execIn(test.run, 'client', ['iptables', '-w', '-t', table, action, ...rule]));
  execIn(test.run, 'client', ['ip', 'addr', 'add', `${NEW_ADDRESS}/24`, 'dev', 'c0']);
  nat('-A', RULES);
  try {
    const moved = await until('the edge follows the client', () =>
      test.edge.sessions('migrated').find((line) => line.session === session && line.to.startsWith(`${NEW_ADDRESS}:`)), { timeout: FOLLOWS });
    assert.ok(moved.from.startsWith(`${addr.client}:`), `the edge moved from ${moved.from}`);
    await mediaRises(caller, 'echo');
    await caller.data('echo', echo.text, echo.expected);
  } finally {
    nat('-D', [...RULES].reverse());
    execIn(test.run, 'client', ['ip', 'addr', 'del', `${NEW_ADDRESS}/24`, 'dev', 'c0']);
  }
}

export const roamings = () => ['chromium', 'firefox'].map((browser) => ({
  name: `the client's address changes in a call${browser === 'firefox' ? ', Firefox' : ''}`, transport: 'ws', browser, edgeOnly: true, run: roaming,
}));
