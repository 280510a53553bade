// The edge has one TCP port and no UDP port: signalling and media go there, plain and in TLS.
import { clientRestart } from './changes.mjs';
import { callEcho, echo, echoTest } from './echotest.mjs';

// What the page itself is loaded from: the edge as well, so everything that the browser needs is one TCP port.
const wholly = (transport) => ({
  name: `page over HTTPS, signalling over ${transport.toUpperCase()}, media over TCP`, transport, pageThroughEdge: true, edgeOnly: true, run: echoTest,
});

// Closing the page closes the connection, and with it the session, without waiting for a silence of 30 s.
async function closing(test) {
  const caller = await test.caller();
  await callEcho(caller);
  await test.works(caller, 'echo', { data: echo });
  const session = test.session(caller, 'echo');
  await test.closePages();
  await test.ended(session, 5000);
}

export const tcp = () => [
  { name: 'EchoTest over REST', transport: 'rest', edgeOnly: true, run: echoTest },
  { name: 'EchoTest over WS', transport: 'ws', edgeOnly: true, run: echoTest },
  wholly('https'),
  wholly('wss'),
  { ...clientRestart('ws'), edgeOnly: true },
  { name: 'closing the page ends the session at once', transport: 'ws', edgeOnly: true, run: closing },
  { name: 'EchoTest over WS, Firefox', transport: 'ws', browser: 'firefox', edgeOnly: true, run: echoTest },
];
