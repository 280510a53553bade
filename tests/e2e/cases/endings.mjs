// However a call ends, the edge forgets it at once, and not only when its timers run out.
import assert from 'node:assert/strict';
import { callEcho } from './echotest.mjs';

const AT_ONCE_MS = 2000;

function ending(name, transport, act) {
  return {
    name: `${name} ends the session, ${transport.toUpperCase()}`, transport,
    run: async (test) => {
      const caller = await test.caller();
      await callEcho(caller);
      await test.works(caller, 'echo');
      const sessions = test.registered();
      if (!test.edge.straight) assert.equal(sessions.length, 1, 'sessions registered');
      await act(caller);
      for (const session of sessions) await test.ended(session, AT_ONCE_MS);
    },
  };
}

export const endings = () => [
  ending('hangup', 'ws', (caller) => caller.hangup('echo')),
  ending('detach', 'rest', (caller) => caller.detach('echo')),
  ending('destroy', 'ws', (caller) => caller.destroy()),
  ending('closing the page', 'rest', (caller) => caller.leave()),
  ending('closing the page', 'ws', (caller) => caller.leave()),
];
