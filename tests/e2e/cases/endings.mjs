// However a call ends, the edge forgets it at once, and not only when its timers run out.
import assert from 'node:assert/strict';
import { callEcho } from './echotest.mjs';

const AT_ONCE_MS = 2000;

function ending(name, transport, act, expected) {
  return {
    name: `${name} ends the session, ${transport.toUpperCase()}`, transport, edgeOnly: true,
    run: async (test) => {
      const caller = await test.caller();
      await callEcho(caller);
      await test.works(caller, 'echo');
      const session = test.session(caller, 'echo');
      await act(caller);
      const { reason, up_packets: up, down_packets: down } = await test.ended(session, AT_ONCE_MS);
      // Janus answers some of them with a `hangup` event of its own, which may overtake.
      assert.ok([expected, 'hangup'].includes(reason), `the reason in the log is ${reason}, expected ${expected}`);
      assert.ok(up > 10 && down > 10, `packets in the log: ${up} up, ${down} down`);
    },
  };
}

export const endings = () => [
  ending('hangup', 'ws', (caller) => caller.hangup('echo'), 'hangup'),
  ending('detach', 'rest', (caller) => caller.detach('echo'), 'detached'),
  ending('destroy', 'ws', (caller) => caller.destroy(), 'destroyed'),
  ending('closing the page', 'rest', (caller) => caller.leave(), 'destroyed'),
  ending('closing the page', 'ws', (caller) => caller.leave(), 'signalling_closed'),
];
