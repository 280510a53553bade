// What the edge asked of whom, from the capture of its packets.
import { spawnSync } from 'node:child_process';
import { addr } from './namespaces.mjs';

// The REST requests about Janus sessions so far, oldest first: { server, session }.
export function janusRequests(pcap) {
  // The status tells nothing: the last packet of a file that is being written may be half there.
  const { stdout } = spawnSync('tcpdump', ['-nn', '-A', '-r', pcap, `tcp and src host ${addr.edgeBack} and dst port 8088`], {
    encoding: 'latin1', maxBuffer: 2 ** 28,
  });
  let server;
  return stdout.split('\n').flatMap((line) => {
    server = line.match(/ IP [\d.]+ > ([\d.]+)\.8088: /)?.[1] ?? server;
    const session = line.match(/(?:GET|POST) \/janus\/(\d+)/)?.[1];
    return session ? [{ server, session: Number(session) }] : [];
  });
}
