// Two Janus behind one edge: calls spread over both, each stays where it began, and one alone carries on for both.
import assert from 'node:assert/strict';
import { mediaRises } from '../lib/checks.mjs';
import { lines } from '../lib/edge_log.mjs';
import { until } from '../lib/processes.mjs';
import { janusRequests } from '../lib/wire.mjs';
import { callEcho, echo } from './echotest.mjs';

async function calls(test, transports) {
  const callers = [];
  for (const transport of transports) {
    const caller = await test.caller({ transport });
    await callEcho(caller);
    callers.push(caller);
  }
  for (const caller of callers) await test.works(caller, 'echo', { data: echo });
  return callers;
}

const homes = (test, callers) => callers.map((caller) => test.janus.having(caller.session));

async function spread(test) {
  const callers = await calls(test, ['rest', 'ws', 'rest', 'ws']);
  const at = homes(test, callers);
  assert.notEqual(at[0], at[2], 'both REST sessions are with one Janus');
  assert.notEqual(at[1], at[3], 'both WS sessions are with one Janus');
  // A second call in each session: attach, offer and trickle once more.
  for (const caller of callers) await callEcho(caller, 'second');
  for (const caller of callers) await test.works(caller, 'second');
  callers.forEach((caller, i) => {
    const asked = janusRequests(test.group.capture).filter(({ session }) => session === caller.session).map(({ server }) => server);
    assert.equal(asked.length > 5, caller.transport === 'rest', `${asked.length} REST requests for a session over ${caller.transport}`);
    assert.deepEqual([...new Set(asked)], caller.transport === 'rest' ? [at[i].address] : [], 'who was asked about the session');
  });
}

async function oneDies(test) {
  const [first, second] = await calls(test, ['ws', 'ws']);
  const [dead, alive] = homes(test, [first, second]);
  assert.notEqual(dead, alive, 'both sessions are with one Janus');
  const session = test.session(first, 'echo');
  await dead.kill();
  const { reason } = await test.ended(session, 5000);
  assert.equal(reason, 'signalling_closed', 'how the call ended');
  const left = lines(test.edge.log).length;

  // From the first on, whatever the rotation has noticed by now.
  const later = await calls(test, ['rest', 'ws', 'rest', 'ws']);
  assert.deepEqual(homes(test, later), later.map(() => alive), 'where new calls went');
  await mediaRises(second, 'echo');
  assert.ok(!test.edge.sessions('ended').some((line) => line.session === test.session(second, 'echo')), 'a call of the other Janus ended');

  await dead.start(test.group.nat);
  await until('both servers of the Janus that returned are in the rotation', () => {
    const back = lines(test.edge.log).slice(left).filter((line) => line.includes('is back in the rotation'));
    return ['8088', '8188'].every((port) => back.some((line) => line.includes(`upstream=${dead.address}:${port}`)));
  });
  const again = await calls(test, ['ws', 'ws', 'rest', 'rest']);
  const used = homes(test, again);
  assert.deepEqual(new Set(used.slice(0, 2)), new Set([dead, alive]), 'WS after the return');
  assert.deepEqual(new Set(used.slice(2)), new Set([dead, alive]), 'REST after the return');
}

export const twoJanus = () => [
  { name: 'calls spread, each stays where it began', edgeOnly: true, run: spread },
  { name: 'one dies: the other takes all, until it returns', edgeOnly: true, run: oneDies },
];
