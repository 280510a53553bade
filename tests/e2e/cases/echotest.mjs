// EchoTest: the client offers, and gets back what it sends.
export const everything = () => [
  { type: 'audio', capture: true, recv: true },
  { type: 'video', capture: true, recv: true },
  { type: 'data' },
];

export const echo = { text: 'through one port', expected: 'You wrote: through one port' };

export async function callEcho(caller, name = 'echo', tracks = everything(), options = {}) {
  await caller.attach(name, 'echotest');
  await caller.offer(name, { audio: true, video: true }, tracks, options);
}

export async function echoTest(test) {
  const caller = await test.caller();
  await callEcho(caller);
  await test.works(caller, 'echo', { data: echo });
}

// All candidates of the client stand in its offer; the edge must take them out.
async function withoutTrickle(test) {
  const caller = await test.caller();
  await callEcho(caller, 'echo', everything(), { trickle: false });
  await test.works(caller, 'echo', { data: echo });
}

export const echoWithoutTrickle = (transport) => ({ name: `EchoTest without trickle over ${transport.toUpperCase()}`, transport, run: withoutTrickle });

export const echoTests = (transports = ['rest', 'ws'], browser = 'chromium') => transports.map((transport) => ({
  name: `EchoTest over ${transport.toUpperCase()}${browser === 'firefox' ? ', Firefox' : ''}`, transport, browser, run: echoTest,
}));
